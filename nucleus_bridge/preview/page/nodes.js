// SPDX-License-Identifier: Apache-2.0
// Elements built node by node, so that no name is ever read as markup.

function svg(name, attributes, text) {
  const node = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

function element(name, text, ...children) {
  const node = document.createElement(name);
  if (text) node.textContent = text;
  node.append(...children);
  return node;
}

// What is said of a camera's calibration: a sign, a word and a colour, so that none of them stands alone.
const VERDICTS = { agrees: ['✓', 'agrees'], suspect: ['⚠', 'suspect'], not_measured: ['–', 'not measured'] };
function verdictMark({ state, text }, label = '') {
  const [sign, word] = Object.hasOwn(VERDICTS, state) ? VERDICTS[state] : ['?', String(state)];
  const mark = element('span', `${sign} ${label ? `${label} ` : ''}${word}`);
  mark.className = `verdict ${Object.hasOwn(VERDICTS, state) ? state : ''}`;
  mark.title = text ?? '';
  return mark;
}

function toggleTheme() {
  const root = document.documentElement, dark = root.dataset.theme ? root.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
  root.dataset.theme = dark ? 'light' : 'dark';
}
