// Text that others wrote (tags, ids, errors) is shown as what it is: always a text node, and characters that are
// invisible, or that turn the direction of what follows, are shown by their number.

const HIDDEN =
  /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;

export function visible(text) {
  return text.replace(
    HIDDEN,
    (character) => `\u27e8U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}\u27e9`,
  );
}

/** Return a text as it may stand in a cell of a spreadsheet: on one line, and never a formula. */
export function inSheet(text) {
  return visible(/^\s*[=+\-@]/.test(text) ? `'${text}` : text);
}

/** Make an element with a class and children; a string becomes a text node. */
export function element(tag, name, ...children) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  made.append(...children);
  return made;
}

/** Set properties of a node that differ: what is written anew costs a style or a layout, and a frame. */
export function set(node, properties) {
  for (const [name, value] of Object.entries(properties)) if (node[name] !== value) node[name] = value;
}

/** Set a text if it is another one. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
