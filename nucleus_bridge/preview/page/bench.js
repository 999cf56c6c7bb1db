// SPDX-License-Identifier: Apache-2.0
// The bench: one camera, its pose moved by hand, the points moving on all frames at once, a score and lines to copy.

const BLINK_MS = 700, STRIP_FRAMES = 12, STRIP_POINTS = 3000, CURVE_POINTS = 2500;

class Bench {
  // page: setFrame(i), frame(), changed() after a correction was changed
  constructor(scene, page, cameras) {
    this.scene = scene; this.page = page; this.cameras = cameras;
    this.root = byId('bench'); this.camera = null; this.selected = 0; this.view = null; this.isBeside = false;
    this.settings = new Map(cameras.map((camera) => [camera, { A: unchanged(), B: unchanged(), shows: 'B' }]));
    this.scores = new Map();
    this.painters = [byId('benchMain'), byId('benchBeside')].map((canvas) => new CameraPainter(scene, canvas));
    this.rows = AXES.map((axis, number) => this.row(axis, number));
    byId('benchCamera').append(...cameras.map((camera) => { const option = element('option', camera); option.value = camera; return option; }));
    this.listen();
  }

  // The correction that a camera is shown with.
  shown(camera) { const setting = this.settings.get(camera); return setting[setting.shows]; }
  get setting() { return this.settings.get(this.camera); }
  get isOpen() { return !this.root.hidden; }

  row(axis, number) {
    const name = element('label', axis.label), range = element('input'), exact = element('input'), curve = element('canvas');
    name.title = `${axis.hint} (key ${number + 1})`;
    range.type = 'range'; range.min = -axis.most; range.max = axis.most; range.step = axis.step; range.value = 0;
    range.id = `bench-${axis.key}`; name.htmlFor = range.id;
    exact.type = 'number'; exact.step = axis.step; exact.value = 0; exact.id = `bench-${axis.key}-exact`;
    exact.setAttribute('aria-label', `${axis.label}, ${axis.unit}`);
    curve.width = 120; curve.height = 24; curve.title = `score along ${axis.label}, from -${axis.most} to ${axis.most} ${axis.unit}`;
    for (const input of [range, exact]) {
      input.addEventListener('input', () => { if (input.value !== '' && Number.isFinite(Number(input.value))) this.set(axis.key, Number(input.value)); });
      input.addEventListener('focus', () => this.select(number));
    }
    const row = element('div', '', name, range, exact, element('span', axis.unit), curve);
    row.className = 'axis-row';
    byId('benchAxes').append(row);
    return { axis, row, range, exact, curve };
  }

  listen() {
    const click = (id, action) => byId(id).addEventListener('click', action);
    byId('benchCamera').addEventListener('change', (event) => this.open(event.target.value));
    click('benchClose', () => this.close());
    click('benchSwap', () => this.swap());
    click('benchBlink', () => this.blink());
    click('benchSide', () => this.beside());
    byId('benchOther').addEventListener('input', (event) => { this.other = Number(event.target.value); this.draw(); });
    click('benchReset', () => this.replace(unchanged()));
    click('benchKeep', () => { this.setting.A = { ...this.setting.B }; this.refresh(); });
    click('benchCopy', () => this.copy());
    click('benchIn', () => this.zoom(1.25));
    click('benchOut', () => this.zoom(0.8));
    click('benchFit', () => this.zoom(0));
    click('benchFull', () => this.zoom(NaN));
    click('benchTake', () => this.take(this.scene.verdicts[this.camera].correction));
    click('findRotation', () => this.find(['pitch', 'yaw', 'roll']));
    click('findPosition', () => this.find(['right', 'down', 'ahead']));
    click('findTime', () => this.find(['ms']));
    for (const { canvas } of this.painters) this.drag(canvas);
    window.addEventListener('resize', () => { if (this.isOpen) this.draw(); });
  }

  drag(canvas) {
    let last = null;
    canvas.addEventListener('pointerdown', (event) => { last = event; canvas.setPointerCapture(event.pointerId); });
    canvas.addEventListener('pointerup', () => { last = null; });
    canvas.addEventListener('pointermove', (event) => {
      if (!last) return;
      const ratio = window.devicePixelRatio || 1, view = this.place();
      this.view = { ...view, x: view.x + (event.clientX - last.clientX) * ratio, y: view.y + (event.clientY - last.clientY) * ratio };
      last = event;
      this.drawMain();
    });
    canvas.addEventListener('wheel', (event) => {
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY * 0.0015), event.offsetX, event.offsetY);
    }, { passive: false });
    canvas.addEventListener('dblclick', () => this.zoom(0));
  }

  open(camera) {
    const before = document.activeElement;
    if (!this.isOpen) this.returns = before;
    this.camera = camera; this.view = null;
    byId('benchCamera').value = camera;
    this.root.hidden = false;
    document.body.classList.add('benched');
    byId('benchOptions').append(byId('imageControls'));
    const last = this.scene.frames.length - 1;
    byId('benchOther').max = last;
    this.other ??= Math.round(last / 2);
    byId('benchOther').value = this.other;
    const verdict = this.scene.verdicts[camera];
    byId('benchVerdict').replaceChildren(...(verdict ? [verdictMark(verdict), element('span', ` ${verdict.text ?? ''}`)] : []));
    byId('benchTake').hidden = !verdict?.correction;
    this.strip();
    if (!this.scores.has(camera)) this.scores.set(camera, new EdgeScore(this.scene, camera));
    this.refresh();
    this.root.focus();
    return this.scores.get(camera).prepare().then(() => this.refresh());
  }

  close() {
    this.stopBlinking();
    this.root.hidden = true;
    document.body.classList.remove('benched');
    byId('controls').append(byId('imageControls'));
    this.returns?.focus?.();
    this.page.changed();
  }

  // The small images of frames all over the scene.
  strip() {
    const all = this.scene.frames.map((frame, i) => (frame.images[this.camera] ? i : -1)).filter((i) => i >= 0);
    const count = Math.min(STRIP_FRAMES, all.length);
    const chosen = Array.from({ length: count }, (_, i) => all[count > 1 ? Math.round(i * (all.length - 1) / (count - 1)) : 0]);
    this.small = chosen.map((index) => {
      const canvas = element('canvas'), button = element('button', '', canvas, element('span', String(index + 1)));
      button.title = `frame ${index + 1}`;
      button.addEventListener('click', () => this.page.setFrame(index));
      return { index, button, canvas, painter: new CameraPainter(this.scene, canvas) };
    });
    byId('benchStrip').replaceChildren(...this.small.map(({ button }) => button));
  }

  select(number) {
    this.selected = number;
    this.rows.forEach(({ row }, i) => row.classList.toggle('selected', i === number));
  }

  set(key, value) { this.replace({ ...this.setting.B, [key]: value }); }

  nudge(steps) {
    const { key, step } = AXES[this.selected];
    this.set(key, Number((this.setting.B[key] + steps * step).toFixed(4)));
  }

  // Takes over a correction as B, and shows it.
  replace(change) {
    this.setting.B = { ...unchanged(), ...change };
    this.setting.shows = 'B';
    this.refresh();
  }

  // Takes over a correction that was measured when the page was made.
  take(correction) {
    const change = changeOfCorrection(correction);
    for (const { key, unit } of AXES) change[key] = Number(change[key].toFixed(unit === 'ms' ? 1 : 3));
    this.replace(change);
  }

  swap() { this.setting.shows = this.setting.shows === 'A' ? 'B' : 'A'; this.refresh(); }

  blink() {
    if (this.blinking) { this.stopBlinking(); return; }
    this.blinking = setInterval(() => this.swap(), BLINK_MS);
    byId('benchBlink').setAttribute('aria-pressed', 'true');
  }

  stopBlinking() {
    clearInterval(this.blinking);
    this.blinking = null;
    byId('benchBlink').setAttribute('aria-pressed', 'false');
  }

  beside() {
    this.isBeside = !this.isBeside; this.view = null;
    byId('benchSide').setAttribute('aria-pressed', String(this.isBeside));
    this.root.classList.toggle('beside', this.isBeside);
    this.draw();
  }

  refresh() {
    const { A, B, shows } = this.setting;
    for (const { axis, range, exact } of this.rows) {
      if (document.activeElement !== range || Number(range.value) !== B[axis.key]) range.value = B[axis.key];
      if (document.activeElement !== exact || Number(exact.value) !== B[axis.key]) exact.value = Number(B[axis.key].toFixed(4));
    }
    byId('benchSwap').textContent = `shows ${shows}`;
    byId('benchA').textContent = isUnchanged(A) ? 'A: as in the scene' : `A: ${this.words(A)}`;
    byId('benchB').textContent = isUnchanged(B) ? 'B: as in the scene' : `B: ${this.words(B)}`;
    byId('benchConfig').value = configurationOf(this.camera, B, this.scene.tracks, this.scene.manifest) || '# move a slider, and the lines that say it stand here\n';
    this.score();
    this.drawSoon();
  }

  // Several changes before the screen is painted are drawn once.
  drawSoon() {
    if (this.drawing) return;
    this.drawing = true;
    requestAnimationFrame(() => { this.drawing = false; this.draw(); });
  }

  words(change) {
    return AXES.filter(({ key }) => change[key]).map(({ key, label, unit }) => `${label} ${change[key] > 0 ? '+' : ''}${Number(change[key].toFixed(3))} ${unit}`).join(', ');
  }

  score() {
    const scorer = this.scores.get(this.camera), { A, B } = this.setting, other = scorer.at(B);
    if (this.scored?.change !== A || this.scored.looks !== scorer.looks.length) this.scored = { change: A, looks: scorer.looks.length, found: scorer.at(A) };
    const one = this.scored.found;
    const text = (score) => (score === null ? '–' : score.toFixed(2));
    byId('benchScore').textContent = other.looks
      ? `A ${text(one.score)}   B ${text(other.score)}   (${other.points} edge points in ${other.looks} images)`
      : 'no edges to compare: too few frames, or too few points where the range jumps';
    this.result = { A: one.score, B: other.score };
    clearTimeout(this.curveTimer);
    this.curveTimer = setTimeout(() => this.curves(), 150);
  }

  // How the score changes along each axis, drawn beside its slider: one after the other, until something is changed.
  async curves() {
    const scorer = this.scores.get(this.camera), { B } = this.setting, points = scorer.looks.reduce((sum, look) => sum + look.directions.length, 0);
    const stride = Math.max(1, Math.round(points / CURVE_POINTS));
    for (const { axis, curve } of this.rows) {
      if (this.setting.B !== B) return;
      const context = curve.getContext('2d', { willReadFrequently: true }), { width, height } = curve, count = 21;
      const scores = Array.from({ length: count }, (_, i) => scorer.at({ ...B, [axis.key]: axis.most * (2 * i / (count - 1) - 1) }, FINE_DEG, stride).score);
      const known = scores.filter((score) => score !== null), low = Math.min(...known), high = Math.max(...known, low + 0.1);
      context.clearRect(0, 0, width, height);
      context.strokeStyle = OKABE_ITO[5]; context.lineWidth = 1.5;
      context.beginPath();
      scores.forEach((score, i) => { if (score !== null) context.lineTo(2 + i * (width - 4) / (count - 1), height - 3 - (score - low) / (high - low) * (height - 6)); });
      context.stroke();
      context.fillStyle = OKABE_ITO[3];
      context.fillRect(2 + (B[axis.key] / axis.most + 1) / 2 * (width - 4) - 1, 0, 2, height);
      await new Promise((done) => setTimeout(done));
    }
    this.drawnCurves = (this.drawnCurves ?? 0) + 1;
  }

  async find(keys) {
    const scorer = this.scores.get(this.camera), camera = this.camera, buttons = [...this.root.querySelectorAll('.find')];
    for (const button of buttons) button.disabled = true;
    try {
      const found = await scorer.find(this.setting.B, keys, (share) => { byId('benchFinding').textContent = `searching, ${Math.round(100 * share)} %`; });
      if (camera !== this.camera) return;
      const gain = (scorer.at(found).score ?? 0) - (scorer.at(this.setting.B).score ?? 0);
      byId('benchFinding').textContent = gain > 0 ? `found: the score rises by ${gain.toFixed(2)}; blink to judge it` : 'nothing better found';
      if (gain > 0) this.replace(found);
    } finally {
      for (const button of buttons) button.disabled = false;
    }
  }

  async copy() {
    const area = byId('benchConfig');
    try { await navigator.clipboard.writeText(area.value); } catch { area.select(); document.execCommand('copy'); }
    byId('benchCopy').textContent = 'copied';
    setTimeout(() => { byId('benchCopy').textContent = 'copy as configuration'; }, 1500);
  }

  // Where the image lies on the big canvas.
  place() {
    if (this.view) return this.view;
    const canvas = byId('benchMain'), image = this.scene.frames[this.page.frame()].images[this.camera] ?? this.anyImage();
    const scale = Math.min(canvas.width / image.width, canvas.height / image.height);
    return { scale, x: (canvas.width - image.width * scale) / 2, y: (canvas.height - image.height * scale) / 2 };
  }

  anyImage() { return this.scene.frames.find((frame) => frame.images[this.camera])?.images[this.camera] ?? { width: 4, height: 3 }; }

  // factor: 0 fits the image into the canvas, NaN shows a pixel of the image as one of the screen.
  zoom(factor, atX = null, atY = null) {
    const canvas = byId('benchMain'), ratio = window.devicePixelRatio || 1;
    if (factor === 0) { this.view = null; this.drawMain(); return; }
    const view = this.place(), x = atX === null ? canvas.width / 2 : atX * ratio, y = atY === null ? canvas.height / 2 : atY * ratio;
    const scale = Number.isNaN(factor) ? 1 : Math.min(40, Math.max(0.05, view.scale * factor)), grown = scale / view.scale;
    const onPixels = scale === 1 ? Math.round : (value) => value;
    this.view = { scale, x: onPixels(x - (x - view.x) * grown), y: onPixels(y - (y - view.y) * grown) };
    this.drawMain();
  }

  draw() { return Promise.all([this.drawMain(), this.drawStrip()]); }

  async drawMain() {
    if (!this.isOpen) return;
    const ratio = window.devicePixelRatio || 1, change = this.shown(this.camera), index = this.page.frame();
    const shows = [[this.painters[0], index, byId('benchMainNote')]];
    if (this.isBeside) shows.push([this.painters[1], this.other, byId('benchBesideNote')]);
    for (const [{ canvas }] of shows) {
      const box = canvas.parentElement.getBoundingClientRect(), width = Math.round(box.width * ratio), height = Math.round(box.height * ratio);
      if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
    }
    const view = this.place(), size = Math.min(4, Math.max(0.5, Math.sqrt(view.scale)));
    await Promise.all(shows.map(async ([painter, i, note]) => {
      const shown = await painter.show(i, this.camera, change, { view, size });
      if (!shown) return;
      painter.shown = shown;
      note.textContent = `${this.setting.shows}  frame ${i + 1}  ${shown.image ? `${Math.round(100 * view.scale)} %  ${shown.drawn} points${view.scale > 0.7 && shown.isWhole === false ? '  smaller than taken' : ''}` : 'no image'}${shown.image && !shown.pose ? '  no pose is known at the corrected time' : ''}`;
    }));
  }

  drawStrip() {
    if (!this.isOpen) return Promise.resolve();
    const change = this.shown(this.camera), image = this.anyImage();
    return Promise.all(this.small.map(({ index, button, canvas, painter }) => {
      fitCanvas(canvas, image);
      button.classList.toggle('now', index === this.page.frame());
      return painter.show(index, this.camera, change, { most: STRIP_POINTS, layered: false, size: 0.35 });
    }));
  }

  // Answers to a key, or returns false.
  key(event) {
    const near = (step) => this.cameras[(this.cameras.indexOf(this.camera) + step + this.cameras.length) % this.cameras.length];
    const keys = {
      Escape: () => this.close(), b: () => this.swap(), k: () => this.blink(), v: () => this.beside(), n: () => this.open(near(1)), N: () => this.open(near(-1)),
      '[': () => this.nudge(-1), ']': () => this.nudge(1), '{': () => this.nudge(-10), '}': () => this.nudge(10),
      '+': () => this.zoom(1.25), '-': () => this.zoom(0.8), 0: () => this.zoom(0), r: () => this.replace(unchanged()), y: () => this.copy(),
    };
    AXES.forEach((_, i) => { keys[i + 1] = () => { this.select(i); this.rows[i].range.focus(); }; });
    if (!Object.hasOwn(keys, event.key)) return false;
    keys[event.key]();
    return true;
  }
}
