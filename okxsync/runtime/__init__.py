"""What a long-running process needs: clocks, limits, supervision, log lines."""
