// SPDX-License-Identifier: Apache-2.0
// The table of scenes: sorted by a click on a column, filtered, and drawn on a map.

const scenes = JSON.parse(document.getElementById('data').textContent);
const byId = (id) => document.getElementById(id);
const sum = (counts) => Object.values(counts).reduce((total, count) => total + count, 0);
const pageOf = (scene) => scene.page.split('/').map(encodeURIComponent).join('/');
const ORDER = ['suspect', 'not_measured', 'agrees'];
const worst = (scene) => { const states = Object.values(scene.calibration).map(({ state }) => state); return ORDER.findIndex((state) => states.includes(state)); };
const timeOf = (scene) => new Date(Number(BigInt(scene.start_ns) / 1000000n)).toISOString().replace('T', ' ').slice(0, 19);

function chips(counts) {
  return Object.entries(counts).sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)).map(([name, count]) => {
    const chip = element('span', `${name} ${count}`);
    chip.className = 'chip';
    return chip;
  });
}

// The cameras by what is known of their calibration, the worst first.
function cameras(scene) {
  const states = new Map();
  for (const camera of scene.cameras) {
    const verdict = Object.hasOwn(scene.calibration, camera) ? scene.calibration[camera] : { state: 'not_measured' };
    if (!states.has(verdict.state)) states.set(verdict.state, []);
    states.get(verdict.state).push({ camera, text: verdict.text });
  }
  const rank = (state) => ORDER.indexOf(state);
  return [...states].sort(([a], [b]) => rank(a) - rank(b)).map(([state, list]) => {
    const said = verdictMark({ state, text: list.map(({ camera, text }) => `${camera}: ${text ?? ''}`).join('\n') });
    const names = element('span', `: ${list.map(({ camera }) => camera).join(', ')}`);
    return element('div', '', said, names);
  });
}

function pictured(scene) {
  if (!scene.picture) return [];
  const picture = element('img');
  picture.src = `data:image/jpeg;base64,${scene.picture}`;
  picture.alt = '';
  return [picture];
}

function way(scene) {
  const root = svg('svg', { viewBox: '0 0 100 60', class: 'way', role: 'img', 'aria-label': 'way of the device' });
  const place = placing([scene], 100, 60, 5);
  root.append(svg('polyline', { points: scene.track.map((at) => place(at).join(',')).join(' ') }));
  if (scene.track.length) { const [cx, cy] = place(scene.track[0]); root.append(svg('circle', { cx, cy, r: 3 })); }
  return [root];
}

// Returns a function from metres to places of a drawing, north up, with one scale for both axes.
function placing(list, width, height, margin) {
  const all = list.flatMap(({ track }) => track), range = (axis, pick) => all.reduce((value, at) => pick(value, at[axis]), all.length ? all[0][axis] : 0);
  const [x0, x1, y0, y1] = [range(0, Math.min), range(0, Math.max), range(1, Math.min), range(1, Math.max)];
  const scale = Math.min((width - 2 * margin) / Math.max(1, x1 - x0), (height - 2 * margin) / Math.max(1, y1 - y0));
  return ([x, y]) => [(width / 2 + (x - (x0 + x1) / 2) * scale).toFixed(1), (height / 2 - (y - (y0 + y1) / 2) * scale).toFixed(1)].map(Number);
}

// value: what a column is sorted by; cells: what it shows.
const COLUMNS = [
  { name: '', cells: pictured }, { name: 'way', cells: way },
  { name: 'scene', value: ({ id }) => id, cells: (scene) => { const link = element('a', scene.id); link.href = pageOf(scene); return [link]; } },
  { name: 'start', value: ({ start_ns: ns }) => ns.padStart(20, '0'), cells: (scene) => [timeOf(scene)] },
  { name: 'length', value: ({ seconds }) => seconds, cells: ({ seconds }) => [`${seconds.toFixed(1)} s`] },
  { name: 'frames', value: ({ frames }) => frames, cells: ({ frames }) => [String(frames)] },
  { name: 'points', value: ({ points }) => points, cells: ({ points }) => [points.toLocaleString('en')] },
  { name: 'calibration', value: (scene) => -worst(scene), cells: cameras },
  { name: 'warnings', value: ({ warnings }) => sum(warnings), cells: ({ warnings }) => chips(warnings) },
  { name: 'lost', value: ({ losses }) => sum(losses), cells: ({ losses }) => chips(losses) },
  { name: 'ended by', value: ({ end_reason: reason }) => reason, cells: ({ end_reason: reason }) => [reason.replaceAll('_', ' ')] },
];
const sorting = { column: 3, down: false };
const rows = new Map(), ways = new Map();

function head() {
  COLUMNS.forEach(({ name, value }, number) => {
    const cell = element('th');
    cell.scope = 'col';
    if (value) {
      const button = element('button', name);
      button.addEventListener('click', () => { sorting.down = sorting.column === number && !sorting.down; sorting.column = number; show(); });
      cell.append(button);
    } else cell.textContent = name;
    byId('scenes').tHead.rows[0].append(cell);
  });
}

function rowOf(scene) {
  const row = element('tr', '', ...COLUMNS.map((column) => { const cell = element('td', '', ...column.cells(scene)); cell.dataset.name = column.name; return cell; }));
  row.title = scene.texts.join('\n');
  row.addEventListener('focusin', () => mark(scene));
  row.addEventListener('pointerenter', () => mark(scene));
  return row;
}

function mark(scene) {
  for (const [other, line] of ways) line.classList.toggle('now', other === scene);
  ways.get(scene)?.parentNode.append(ways.get(scene));
}

function wanted(scene) {
  const words = byId('find').value.toLowerCase().split(/\s+/).filter(Boolean), state = byId('state').value, code = byId('code').value;
  const text = [scene.id, scene.end_reason, ...Object.keys(scene.warnings), ...Object.keys(scene.losses), ...scene.cameras, ...scene.texts].join(' ').toLowerCase();
  return words.every((word) => text.includes(word)) && (!state || Object.values(scene.calibration).some((verdict) => verdict.state === state))
    && (!code || Object.hasOwn(scene.warnings, code)) && (!byId('lossy').checked || sum(scene.losses) > 0);
}

function show() {
  const { value } = COLUMNS[sorting.column], sign = sorting.down ? -1 : 1;
  const order = scenes.filter(wanted).sort((a, b) => { const x = value(a), y = value(b); return sign * (x < y ? -1 : x > y ? 1 : 0); });
  byId('scenes').tBodies[0].replaceChildren(...order.map((scene) => rows.get(scene)));
  [...byId('scenes').tHead.rows[0].cells].forEach((cell, number) => {
    if (COLUMNS[number].value) cell.setAttribute('aria-sort', number !== sorting.column ? 'none' : sorting.down ? 'descending' : 'ascending');
  });
  byId('shown').textContent = `${order.length} of ${scenes.length}`;
  for (const [scene, line] of ways) line.classList.toggle('away', !order.includes(scene));
}

// All ways on one map where they are in one world.
function map() {
  const worlds = new Set(scenes.map(({ world_frame: world }) => world));
  if (worlds.size !== 1) { byId('mapBox').hidden = true; return; }
  const width = 900, height = 260, root = svg('svg', { viewBox: `0 0 ${width} ${height}` }), place = placing(scenes, width, height, 16);
  for (const scene of scenes) {
    const line = svg('polyline', { points: scene.track.map((at) => place(at).join(',')).join(' '), class: 'line' });
    line.append(svg('title', {}, scene.id));
    line.addEventListener('click', () => { location.href = pageOf(scene); });
    line.addEventListener('pointerenter', () => mark(scene));
    ways.set(scene, line);
    root.append(line);
  }
  const all = scenes.flatMap(({ track }) => track), metres = all.length ? Math.max(...[0, 1].map((axis) => all.reduce((most, at) => Math.max(most, at[axis]), -Infinity) - all.reduce((least, at) => Math.min(least, at[axis]), Infinity))) : 0;
  const round = 10 ** Math.floor(Math.log10(Math.max(1, metres / 3))), [a] = place([0, 0]), [b] = place([round, 0]);
  root.append(svg('line', { x1: 12, x2: 12 + b - a, y1: height - 10, y2: height - 10, class: 'scale' }), svg('text', { x: 12, y: height - 16 }, `${round} m`));
  byId('map').append(root);
}

function step(by) {
  const links = [...byId('scenes').tBodies[0].querySelectorAll('a')], at = links.indexOf(document.activeElement);
  links[Math.min(links.length - 1, Math.max(0, at + by))]?.focus();
}

function listen() {
  for (const id of ['find', 'state', 'code', 'lossy']) byId(id).addEventListener('input', show);
  byId('theme').addEventListener('click', toggleTheme);
  document.addEventListener('keydown', (event) => {
    const { target, key } = event;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (key === 'Escape') { byId('find').value = ''; byId('state').value = ''; byId('code').value = ''; byId('lossy').checked = false; show(); target.blur(); return; }
    if (target.tagName === 'SELECT') return;
    if (key === 'ArrowDown' || key === 'ArrowUp') { event.preventDefault(); step(key === 'ArrowDown' ? 1 : -1); return; }
    if (target.tagName === 'INPUT' && target.type === 'search') return;
    if (key === '/') { event.preventDefault(); byId('find').focus(); }
    if (key === 'd') toggleTheme();
  });
}

const total = (key) => scenes.reduce((all, scene) => all + scene[key], 0);
byId('title').textContent = document.title;
byId('summary').textContent = `${total('frames').toLocaleString('en')} frames in ${total('seconds').toFixed(1)} s, ${total('items').toLocaleString('en')} items, ${total('points').toLocaleString('en')} points`;
for (const code of [...new Set(scenes.flatMap(({ warnings }) => Object.keys(warnings)))].sort()) { const option = element('option', code); option.value = code; byId('code').append(option); }
for (const scene of scenes) rows.set(scene, rowOf(scene));
head();
map();
listen();
show();
