// SPDX-License-Identifier: Apache-2.0
// One card a camera: the image with the lidar points on it.

class Pictures {
  // isBeside: whether the page lies beside the files that its pictures were shrunk from.
  constructor(frames, arrival) { this.frames = frames; this.arrival = arrival; this.known = new Map(); this.whole = new Map(); this.isBeside = location.protocol === 'file:'; }

  // The file of a picture that is shrunk in the page: resolves to it, or to null where the page was moved away from it.
  file(index, camera) {
    const key = `${index} ${camera}`, image = this.frames[index].images[camera];
    if (!image?.file || !this.isBeside) return null;
    if (!this.whole.has(key)) {
      if (this.whole.size >= 8) this.whole.delete(this.whole.keys().next().value);
      this.whole.set(key, new Promise((done) => {
        const picture = new Image(), fits = () => picture.naturalWidth === image.width && picture.naturalHeight === image.height;
        picture.onload = () => done(fits() ? picture : null);
        picture.onerror = () => { this.isBeside = false; done(null); };
        picture.src = image.file;
      }));
    }
    return this.whole.get(key);
  }

  // Resolves to a picture that can be drawn, or null.
  of(index, camera) {
    const key = `${index} ${camera}`, image = this.frames[index].images[camera];
    if (!image) return Promise.resolve(null);
    if (!this.known.has(key)) {
      if (this.known.size >= 96) this.known.delete(this.known.keys().next().value);
      this.known.set(key, this.arrival.of(index).then(() => new Promise((done) => {
        const picture = new Image();
        picture.onload = () => done(picture);
        picture.onerror = () => done(null);
        picture.src = `data:image/jpeg;base64,${this.arrival.parts(index).images[camera]}`;
      })));
    }
    return this.known.get(key);
  }
}

// Draws a frame's image, points and layers; resolves to what was drawn.
class CameraPainter {
  // scene: frames, cloud(index), pictures, tracks, heights(), options, layers
  constructor(scene, canvas) { this.scene = scene; this.canvas = canvas; this.overlay = new Overlay(); this.turn = 0; }

  // view: null to fill the canvas. most: points at most.
  async show(index, camera, change, { view = null, most = Infinity, layered = true, size = 1 } = {}) {
    const turn = ++this.turn, { frames, pictures, tracks, options } = this.scene, image = frames[index].images[camera];
    const context = this.canvas.getContext('2d', { willReadFrequently: true });  // drawn on the CPU, as the points are
    const small = image ? await pictures.of(index, camera) : null;
    if (turn !== this.turn) return null;
    const isMagnified = small && view && view.scale * image.width > 1.1 * small.naturalWidth;
    const picture = (isMagnified && await pictures.file(index, camera)) || small;
    if (turn !== this.turn) return null;
    if (!image || !picture) {
      context.clearRect(0, 0, this.canvas.width, this.canvas.height);
      return { seen: null, drawn: 0, pose: null, image };
    }
    const { width, height } = this.canvas, place = view ?? { scale: width / image.width, x: 0, y: 0 };
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, width, height);
    context.imageSmoothingQuality = 'high';
    context.imageSmoothingEnabled = place.scale * image.width / picture.width < 3;
    context.drawImage(picture, place.x, place.y, image.width * place.scale, image.height * place.scale);
    const pose = tracks.corrected(camera, image, change);
    if (!pose) return { seen: null, drawn: 0, pose, image };
    const seen = projectCloud(this.scene.cloud(index), image, pose, most);
    let drawn = 0;
    if (options.overlay) {
      const all = { ...options, size: options.size * size, heights: this.scene.heights };
      drawn = this.overlay.points(context, seen, this.scene.cloud(index), image, place, all);
    }
    if (layered) paintLayers(context, projector(image.params, pose), place, index, camera);
    return { seen, drawn, pose, image, isWhole: picture.naturalWidth >= image.width };
  }
}

function fitCanvas(canvas, image) {
  const ratio = window.devicePixelRatio || 1;
  const width = Math.max(80, Math.round((canvas.clientWidth || 400) * ratio)), height = Math.round(width * image.height / image.width);
  if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
}

class CameraCard {
  constructor(scene, name, parent, verdict, open) {
    this.scene = scene; this.name = name;
    this.figure = element('figure');
    this.note = element('small');
    const bench = element('button', 'bench');
    bench.title = `judge the calibration of ${name} (Enter)`;
    bench.className = 'open';
    this.canvas = element('canvas');
    this.canvas.dataset.camera = name;
    this.canvas.tabIndex = 0;
    this.canvas.title = 'opens the bench';
    this.canvas.setAttribute('role', 'button');
    this.canvas.setAttribute('aria-label', `open ${name} on the bench`);
    const caption = element('figcaption', '', element('span', name));
    if (verdict) caption.append(verdictMark(verdict));
    caption.append(this.note, bench);
    this.figure.append(caption, this.canvas);
    this.painter = new CameraPainter(scene, this.canvas);
    for (const node of [bench, this.canvas]) node.addEventListener('click', () => open(name));
    this.canvas.addEventListener('keydown', (event) => { if (event.key === 'Enter') { event.preventDefault(); event.stopPropagation(); open(name); } });
    parent.append(this.figure);
    this.seen = null;
  }

  async show(index, lag, change) {
    const image = this.scene.frames[index].images[this.name];
    if (image) fitCanvas(this.canvas, image);
    const shown = await this.painter.show(index, this.name, change, { size: Math.min(1, Math.max(0.5, this.canvas.width / 640)) });
    if (!shown) return;
    this.seen = shown.seen;
    this.figure.classList.toggle('changed', !isUnchanged(change));
    const points = shown.seen ? `${shown.seen.count} points` : 'no pose is known at the corrected time';
    this.note.textContent = image ? `${isUnchanged(change) ? '' : 'corrected, '}${points}, ${lag} ms from the sweep, ${image.width} × ${image.height}, ${image.params.camera_model}` : 'no image in this frame';
    this.note.title = this.note.textContent;
  }
}
