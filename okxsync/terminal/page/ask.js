// What the page asks of the daemon. The terminal stores a request; its answer comes with the topic `requests`.

import { tokenForm } from "./login.js";
import { element } from "./text.js";

const PATIENCE_MS = 20_000;

/** Send JSON with both halves of the session. Returns {status, ...answer}; a status of 0: no answer. */
export async function post(path, message) {
  try {
    const response = await fetch(path, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-Okxsync-Key": localStorage.getItem("okxsync.key") ?? "" },
      body: JSON.stringify(message),
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    const answer = await response.json().catch(() => ({ error: `the terminal answers ${response.status}` }));
    return { ...answer, status: response.status };
  } catch {
    return { status: 0, error: "the terminal does not answer" };
  }
}

/** Ask for the token after 15 minutes without trading. Returns whether it was right; closing the dialog: it was not. */
function renew() {
  return new Promise((done) => {
    const text = "Nothing was traded here for 15 minutes: give the token of `okxsync terminal` again.";
    let right = false;
    const { form, input } = tokenForm(element("h2", "", "Token"), text, "Trade", "", async (token) => {
      const { status, error } = await post("session/trade", { token });
      right = status === 200;
      if (right) dialog.close();
      return right ? null : error;
    });
    form.className = "token";
    const dialog = element("dialog", "", form);
    dialog.setAttribute("aria-label", "Token");
    dialog.addEventListener("close", () => {
      dialog.remove();
      done(right);
    });
    document.body.append(dialog);
    dialog.showModal();
    input.focus();
  });
}

/** Ask the daemon for something. Returns {request, plan, note}, or {error}. */
export async function ask(message) {
  let answer = await post("request", message);
  if (answer.token && (await renew())) answer = await post("request", message);
  if (answer.status === 401) return { error: "the session has ended: load the page again" };
  return answer;
}
