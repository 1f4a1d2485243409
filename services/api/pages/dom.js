// Builds the page, and changes of it only what has changed: focus, selections and scroll positions survive a refresh.
// Text becomes text nodes and nothing else, so that nothing that is shown can turn into markup.

const keys = new WeakMap();
const handlers = new WeakMap();
const PROPERTIES = new Set(["value", "checked", "disabled", "open", "indeterminate"]);

/** A description of an element. Children may be nested; null, undefined and false are left out. */
export function h(tag, attributes, ...children) {
  const { key = null, ...rest } = attributes ?? {};
  return { tag, key, attributes: rest, children: shown(children) };
}

/** Make the children of `parent` what the descriptions say. */
export function render(parent, ...children) {
  patchChildren(parent, shown(children));
}

function shown(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
}

function patchChildren(parent, wanted) {
  const keyed = new Map([...parent.childNodes].filter((node) => keys.has(node)).map((node) => [keys.get(node), node]));
  let place = parent.firstChild;
  for (const child of wanted) {
    const node = match(place, child, keyed) ?? create(child);
    if (node === place) place = place.nextSibling;
    else parent.insertBefore(node, place);
    if (typeof child === "object") patch(node, child);
    else if (node.data !== String(child)) node.data = String(child);
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
}

function match(place, child, keyed) {
  if (typeof child === "object" && child.key !== null) {
    const node = keyed.get(child.key);
    return node?.localName === child.tag ? node : null;
  }
  if (!place || keys.has(place)) return null;
  if (typeof child !== "object") return place.nodeType === Node.TEXT_NODE ? place : null;
  return place.localName === child.tag ? place : null;
}

function create(child) {
  if (typeof child !== "object") return document.createTextNode("");
  const element = document.createElement(child.tag);
  if (child.key !== null) keys.set(element, child.key);
  return element;
}

function patch(element, { attributes, children }) {
  for (const { name } of [...element.attributes]) {
    if (!(name in attributes) && !PROPERTIES.has(name)) element.removeAttribute(name);
  }
  listen(element, attributes);
  patchChildren(element, children);
  for (const [name, value] of Object.entries(attributes)) {
    if (PROPERTIES.has(name)) setProperty(element, name, value);
    else if (!name.startsWith("on")) setAttribute(element, name, value);
  }
}

function setProperty(element, name, value) {
  if (name === "value" && element === document.activeElement && element.localName === "input") return; // being typed
  if (element[name] !== value) element[name] = value;
}

function setAttribute(element, name, value) {
  if (value === null || value === undefined || value === false) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value === true ? "" : value)) {
    element.setAttribute(name, value === true ? "" : value);
  }
}

// One listener per kind of event, whose handler is looked up when it happens: handlers change with every refresh.
function listen(element, attributes) {
  const known = handlers.get(element) ?? {};
  const now = Object.fromEntries(Object.entries(attributes).filter(([name]) => name.startsWith("on")));
  for (const name of Object.keys(now)) {
    if (!(name in known)) element.addEventListener(name.slice(2), (event) => handlers.get(element)[name]?.(event));
  }
  const silent = Object.fromEntries(Object.keys(known).map((name) => [name, null]));
  handlers.set(element, { ...silent, ...now });
}
