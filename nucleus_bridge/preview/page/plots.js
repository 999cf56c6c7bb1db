// SPDX-License-Identifier: Apache-2.0
// Plots as inline SVG, and tables.

// series: {name: [value or null for each frame]}; ends: what stands below the first and the last value.
// Returns a function that marks a frame.
function linePlot(parent, series, digits, ends, fromZero = true) {
  const width = 340, height = 190, left = 46, right = 8, top = 10, bottom = 22;
  const values = Object.values(series).flat().filter((value) => value !== null);
  if (!values.length) { parent.append(element('p', 'nothing to show')); return () => {}; }
  let low = Math.min(...values, ...(fromZero ? [0] : [])), high = Math.max(...values, ...(fromZero ? [0] : []));
  if (high - low < 1e-9) high = low + 1;
  const count = Math.max(...Object.values(series).map((line) => line.length));
  const x = (i) => left + (count > 1 ? i / (count - 1) : 0.5) * (width - left - right);
  const y = (value) => height - bottom - (value - low) / (high - low) * (height - top - bottom);
  const root = svg('svg', { viewBox: `0 0 ${width} ${height}` });
  for (const value of [low, (low + high) / 2, high]) {
    root.append(svg('line', { class: 'axis', x1: left, x2: width - right, y1: y(value), y2: y(value) }));
    root.append(svg('text', { x: left - 6, y: y(value) + 4, 'text-anchor': 'end' }, value.toFixed(digits)));
  }
  root.append(svg('text', { x: left, y: height - 6 }, ends[0]), svg('text', { x: width - right, y: height - 6, 'text-anchor': 'end' }, ends[1]));
  const legend = element('div'); legend.className = 'legend';
  Object.entries(series).forEach(([name, line], number) => {
    const colour = OKABE_ITO[number % OKABE_ITO.length];
    const group = svg('g', { stroke: colour, fill: colour });
    let path = '';
    line.forEach((value, i) => {
      if (value === null) return;
      path += `${path && (line[i - 1] ?? null) !== null ? 'L' : 'M'}${x(i).toFixed(1)} ${y(value).toFixed(1)}`;
      group.append(svg('circle', { cx: x(i), cy: y(value), r: 1.8, stroke: 'none' }));
    });
    group.append(svg('path', { d: path, fill: 'none', 'stroke-width': 1.5 }));
    root.append(group);
    const mark = element('i'); mark.style.background = colour;
    legend.append(element('span', '', mark, name));
  });
  const now = svg('line', { class: 'now', y1: top, y2: height - bottom });
  root.append(now);
  parent.append(root, legend);
  return (i) => { now.setAttribute('x1', x(i)); now.setAttribute('x2', x(i)); };
}

// Where each camera looks, ahead being up.
function rigPlot(parent, views, forwardDeg) {
  const root = svg('svg', { viewBox: '-165 -92 330 184' });
  root.append(svg('rect', { x: -14, y: -26, width: 28, height: 52, rx: 6, class: 'axis' }), svg('text', { x: 0, y: -80, 'text-anchor': 'middle' }, 'ahead'));
  root.append(svg('path', { d: 'M0 -74 l-5 9 h10 z', fill: 'currentColor', opacity: 0.5 }));
  Object.entries(views).forEach(([name, view], number) => {
    const azimuth = (view.azimuth_deg - forwardDeg) * Math.PI / 180, level = Math.cos(view.elevation_deg * Math.PI / 180);
    const dx = -Math.sin(azimuth), dy = -Math.cos(azimuth), colour = OKABE_ITO[number % OKABE_ITO.length], reach = 14 + 40 * level;
    root.append(svg('line', { x1: dx * 12, y1: dy * 12, x2: dx * reach, y2: dy * reach, stroke: colour, 'stroke-width': 3 }));
    root.append(svg('circle', { cx: dx * reach, cy: dy * reach, r: 4, fill: colour }));
    const anchor = Math.abs(dx) < 0.3 ? 'middle' : dx > 0 ? 'start' : 'end';
    root.append(svg('text', { x: dx * (reach + 9) + (anchor === 'middle' ? 26 : 0), y: dy * (reach + 9) + 4, 'text-anchor': anchor }, name));
  });
  parent.append(root);
}

function table(rows, header) {
  const body = element('tbody');
  for (const [title, value] of rows) body.append(element('tr', '', element('th', title), element('td', String(value))));
  const node = element('table', '', body);
  if (header) node.prepend(element('caption', header));
  return node;
}

function facts(parent, manifest, bytes) {
  const simple = ['reference_id', 'format', 'frames', 'items', 'points', 'world_frame', 'device_frame', 'end_reason', 'software', 'config_digest'];
  const rows = simple.map((key) => [key.replaceAll('_', ' '), manifest[key]]);
  const offset = manifest.world_offset;
  rows.push(['world offset', `${offset.x.toFixed(3)}, ${offset.y.toFixed(3)}, ${offset.z.toFixed(3)} m`], ['size', `${(bytes / 1e6).toFixed(1)} MB`]);
  const sensors = Object.entries(manifest.sensors).map(([name, sensor]) => [name, Object.entries(sensor).map(([key, value]) => `${key} ${value}`).join(', ')]);
  const since = (ns) => `${((ns - manifest.first_stamp_ns) / 1e9).toFixed(2)} s`;
  const events = (manifest.events || []).map((event) => [event.name, `${since(event.begin_ns)} to ${since(event.end_ns)}`]);
  const tables = [['Scene', rows], ['Sensors', sensors], ...(events.length ? [['Events, from the first frame', events]] : [])];
  for (const [title, list] of tables) {
    const figure = element('figure', '', element('figcaption', title), table(list));
    parent.append(figure);
  }
}

function losses(parent, manifest) {
  const rows = [];
  for (const [topic, causes] of Object.entries(manifest.losses)) for (const [cause, count] of Object.entries(causes)) rows.push([count, `${cause.replaceAll('_', ' ')} — ${topic}`]);
  for (const [sensor, count] of Object.entries(manifest.missing)) rows.push([count, `frames without ${sensor}`]);
  if (!rows.length) { parent.append(element('p', 'Nothing: every message reached the scene.')); return; }
  rows.sort((a, b) => b[0] - a[0]);
  const most = Math.log1p(rows[0][0]), root = svg('svg', { viewBox: `0 0 340 ${Math.max(60, rows.length * 30)}` });
  rows.forEach(([count, text], i) => {
    root.append(svg('rect', { x: 0, y: i * 30 + 16, height: 8, width: Math.max(2, 330 * Math.log1p(count) / most), fill: OKABE_ITO[1], rx: 2 }));
    root.append(svg('text', { x: 0, y: i * 30 + 11 }, `${count}  ${text}`));
  });
  root.style.height = 'auto';
  parent.append(root);
}

// How thick walls and poles are in the world, with and without deskewing.
function sharpness(parent, found) {
  const thick = (metres, count) => (metres === null ? `– (${count})` : `${(1000 * metres).toFixed(1)} mm (${count})`);
  const rows = [['deskewed', found.deskewed], ['as measured', found.as_measured]].filter(([, one]) => one);
  if (rows.length) {
    const body = element('tbody', '', ...rows.map(([name, one]) => element('tr', '', element('th', name), element('td', thick(one.walls_m, one.walls)), element('td', thick(one.poles_m, one.poles)))));
    parent.append(element('table', '', element('thead', '', element('tr', '', element('th', ''), element('th', 'walls'), element('th', 'poles'))), body));
  }
  const said = found.blurs ? '⚠ deskewing makes things thicker: point times or poses are wrong' : rows.length === 2 && !found.why ? 'Deskewing should make things thinner, or leave them as they are.' : '';
  for (const text of [said, found.why]) if (text) parent.append(element('p', text));
  parent.append(element('p', `Standard deviation across, in ${found.frames} frames together (cells).`));
}
