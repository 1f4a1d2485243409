// Questions before something is changed, and what became of it. The browser keeps the focus inside and gives it back.

import { h, render } from "./dom.js";

const dialog = document.getElementById("dialog");
const messages = document.getElementById("messages");
const READING_MS = 8_000;
let open = null;

/**
 * Ask; resolves with the fields' values, or null when the answer is no.
 * `fields`: [{name, label, type?, value?, min?, max?, required?, hint?}].
 */
export function ask({ title, body = [], fields = [], confirm, tone = "", refuse = "Cancel" }) {
  return new Promise((resolve) => {
    const finish = (answer) => {
      if (open !== finish) return;
      open = null;
      dialog.close();
      render(dialog);
      resolve(answer);
    };
    open?.(null); // one question at a time
    open = finish;
    const refused = (event) => {
      event.preventDefault();
      finish(null);
    };
    const submit = (event) => {
      event.preventDefault();
      finish(Object.fromEntries(new FormData(event.target)));
    };
    dialog.oncancel = refused; // Escape
    // The browser tells of a closing only afterwards, when the next question may be open: that one is not meant.
    dialog.onclose = () => dialog.open || finish(null);
    render(dialog, h("form", { onsubmit: submit },
      h("h2", { id: "dialog-title" }, title), body, fields.map(field),
      h("div", { class: "buttons" },
        h("button", { type: "button", onclick: refused }, refuse),
        confirm && h("button", { type: "submit", class: `primary ${tone}` }, confirm))));
    dialog.showModal();
  });
}

function field({ name, label, type = "text", hint, ...more }) {
  const described = hint ? `${name}-hint` : null;
  return h("label", { class: "field", key: name }, h("span", {}, label),
    h("input", { name, type, autocomplete: "off", "aria-describedby": described, ...more }),
    hint && h("small", { id: described }, hint));
}

/** Tell how something went; read out, and gone after a while. */
export function say(text, tone = "good") {
  const line = document.createElement("p");
  line.className = `notice ${tone}`;
  line.textContent = text;
  messages.append(line);
  setTimeout(() => line.remove(), READING_MS);
}
