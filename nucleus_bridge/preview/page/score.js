// SPDX-License-Identifier: Apache-2.0
// How well outlines in the clouds fall on edges of the images, as a function of a correction; and the search for the best.
// Each outline is looked up in a map of the edges that run in its own direction. A map is as if seen out of focus, less
// what is broader, in standard deviations: 0 is what points anywhere would get.

const MAP_WIDTH = 640, DIRECTIONS = 4, FEWEST_EDGES = 30, FARTHEST_SPREADS = 6;
const FINE_DEG = 0.2, MIDDLE_DEG = 0.4, COARSE_DEG = 0.7, CANDIDATES = 8;
const SEARCHED = { pitch: 4, yaw: 4, roll: 4, right: 0.4, down: 0.4, ahead: 0.4, ms: 150 };  // to either side
const SAMPLE_DEG = 0.2, WIDE = 6;

// How much of an edge each pixel has in each direction of the gradient: along x, down to the right, along y, up to the right.
function edgeStrengths(picture) {
  const width = Math.min(MAP_WIDTH, picture.naturalWidth), height = Math.max(1, Math.round(width * picture.naturalHeight / picture.naturalWidth));
  const canvas = document.createElement('canvas');
  canvas.width = width; canvas.height = height;
  const context = canvas.getContext('2d', { willReadFrequently: true });
  context.imageSmoothingQuality = 'high';
  context.drawImage(picture, 0, 0, width, height);
  const { data } = context.getImageData(0, 0, width, height), size = width * height, raw = new Float32Array(size);
  for (let i = 0; i < size; i++) raw[i] = 0.299 * data[4 * i] + 0.587 * data[4 * i + 1] + 0.114 * data[4 * i + 2];
  const gray = outOfFocus(raw, width, height, 0.8), across = new Float32Array(size), down = new Float32Array(size), lengths = new Float32Array(size);
  for (let y = 1; y < height - 1; y++) for (let x = 1; x < width - 1; x++) {
    const i = y * width + x;
    across[i] = (gray[i + 1] - gray[i - 1]) / 2;
    down[i] = (gray[i + width] - gray[i - width]) / 2;
    lengths[i] = Math.hypot(across[i], down[i]);
  }
  const strong = Math.max(2, lengths.slice().sort()[Math.floor(0.85 * size)]), half = Math.SQRT1_2;
  const maps = Array.from({ length: DIRECTIONS }, () => new Float32Array(size));
  for (let i = 0; i < size; i++) {
    const length = lengths[i];
    if (length < 1e-3) continue;
    const weight = length / (length + strong) / (length * length), a = across[i], b = down[i];
    [a, (a + b) * half, b, (a - b) * half].forEach((part, direction) => { maps[direction][i] = weight * part * part; });
  }
  return { width, height, maps };
}

// A blur like a Gaussian's: three times a mean over a window.
function outOfFocus(values, width, height, sigma) {
  const radius = Math.max(1, Math.round((Math.sqrt(4 * sigma * sigma + 1) - 1) / 2));
  let from = values, to = new Float32Array(values.length), spare = new Float32Array(values.length);
  const mean = (count, lines, step, stride) => {
    for (let line = 0; line < lines; line++) {
      const start = line * stride;
      let sum = 0;
      for (let i = -radius; i <= radius; i++) sum += from[start + Math.min(count - 1, Math.max(0, i)) * step];
      for (let i = 0; i < count; i++) {
        to[start + i * step] = sum / (2 * radius + 1);
        sum += from[start + Math.min(count - 1, i + radius + 1) * step] - from[start + Math.max(0, i - radius) * step];
      }
    }
    [from, to] = [to, from === values ? spare : from];
  };
  for (let turn = 0; turn < 3; turn++) { mean(width, height, 1, width); mean(height, width, width, 1); }
  return from;
}

// A map of edges out of focus, less what is broader, in standard deviations.
function edgeMap(strengths, width, height, sigma) {
  const near = outOfFocus(strengths, width, height, sigma), far = outOfFocus(strengths, width, height, WIDE * sigma);
  let squares = 0;
  for (let i = 0; i < near.length; i++) { near[i] -= far[i]; squares += near[i] * near[i]; }
  const spread = Math.sqrt(squares / near.length);
  if (spread < 1e-5) return near.fill(0);
  for (let i = 0; i < near.length; i++) near[i] = Math.min(FARTHEST_SPREADS, Math.max(-FARTHEST_SPREADS, near[i] / spread));
  return near;
}

class EdgeScore {
  constructor(scene, camera) { this.scene = scene; this.camera = camera; this.looks = []; this.ready = null; }

  prepare() { this.ready ??= this.load(); return this.ready; }

  async load() {
    for (const [index, frame] of this.scene.frames.entries()) {
      const image = frame.images[this.camera];
      if (!image || !frame.edges || frame.edges.points.count < FEWEST_EDGES) continue;
      const picture = await this.scene.pictures.of(index, this.camera);
      if (!picture) continue;
      const parts = this.scene.arrival.parts(index);
      const look = { image, points: unpackCloud(frame.edges.points, parts.points), beyond: unpackCloud(frame.edges.beyond, parts.beyond), ...edgeStrengths(picture), blurred: new Map() };
      this.direct(look);
      this.mapsOf(look, FINE_DEG);
      this.looks.push(look);
      await new Promise((done) => setTimeout(done));
    }
  }

  // In which direction each outline crosses the image: as it stands in the scene, since small corrections hardly turn it.
  direct(look) {
    const project = projector(look.image.params, poseOfImage(look.image)), from = new Float64Array(3), to = new Float64Array(3);
    const a = look.points.xyz, b = look.beyond.xyz, count = look.points.count;
    look.directions = new Int8Array(count).fill(-1); look.samples = new Uint8Array(count).fill(1);
    const focus = Number(look.image.params.fx) / Number(look.image.params.scale_factor ?? 1);
    for (let i = 0; i < count; i++) {
      if (!project(a[3 * i], a[3 * i + 1], a[3 * i + 2], from) || !project(b[3 * i], b[3 * i + 1], b[3 * i + 2], to)) continue;
      look.directions[i] = (Math.round(Math.atan2(to[1] - from[1], to[0] - from[0]) / (Math.PI / DIRECTIONS)) + 2 * DIRECTIONS) % DIRECTIONS;
      look.samples[i] = Math.min(7, Math.max(1, Math.ceil(Math.hypot(to[1] - from[1], to[0] - from[0]) / focus * 180 / Math.PI / SAMPLE_DEG)));
    }
  }

  mapsOf(look, degrees) {
    if (!look.blurred.has(degrees)) {
      const { params, width: whole } = look.image, focus = Number(params.fx) / Number(params.scale_factor ?? 1) * look.width / whole;
      const sigma = Math.max(1, degrees * Math.PI / 180 * focus);
      look.blurred.set(degrees, look.maps.map((map) => edgeMap(map, look.width, look.height, sigma)));
    }
    return look.blurred.get(degrees);
  }

  // degrees: how far out of focus the edges are. stride: look at every n-th outline.
  // Returns { score, points, looks }; score is null where nothing could be compared.
  at(change, degrees = FINE_DEG, stride = 1) {
    const out = new Float64Array(3);
    let total = 0, looks = 0, points = 0;
    for (const look of this.looks) {
      const { image, width, height, directions } = look, pose = this.scene.tracks.corrected(this.camera, image, change);
      if (!pose) continue;
      const maps = this.mapsOf(look, degrees), project = projector(image.params, pose), scale = width / image.width, { xyz, intensity: weights } = look.points;
      const ends = look.beyond.xyz, samples = look.samples;
      let sum = 0, whole = 0, count = 0;
      for (let i = 0; i < directions.length; i += stride) {
        if (directions[i] < 0) continue;
        const map = maps[directions[i]], pieces = samples[i];
        let best = -Infinity;
        for (let piece = 0; piece < pieces; piece++) {
          const t = (piece + 0.5) / pieces, s = 1 - t, k = 3 * i;
          if (!project(s * xyz[k] + t * ends[k], s * xyz[k + 1] + t * ends[k + 1], s * xyz[k + 2] + t * ends[k + 2], out) || out[2] < 0.5) continue;
          const x = (out[0] + 0.5) * scale - 0.5, y = (out[1] + 0.5) * scale - 0.5;
          if (!(x >= 0 && y >= 0 && x < width - 1 && y < height - 1)) continue;
          const column = Math.floor(x), row = Math.floor(y), a = x - column, b = y - row, place = row * width + column;
          best = Math.max(best, (1 - b) * ((1 - a) * map[place] + a * map[place + 1]) + b * ((1 - a) * map[place + width] + a * map[place + width + 1]));
        }
        if (best === -Infinity) continue;
        sum += weights[i] * best;
        whole += weights[i];
        count++;
      }
      if (count * stride < FEWEST_EDGES) continue;
      total += sum / Math.max(1, whole); looks++; points += count;
    }
    return { score: looks ? total / looks : null, points, looks };
  }

  // Searches the best correction along some axes: on a grid, wide and out of focus, then from its best places and from
  // the start with steps that become smaller as the focus becomes sharper.
  async find(start, keys, said = () => {}) {
    await this.prepare();
    const axes = keys.map((key) => AXES.find((axis) => axis.key === key)), steps = keys.length > 1 ? 4 : 15;
    const value = (change, degrees, stride) => this.at(change, degrees, stride).score ?? -Infinity;
    const points = this.looks.reduce((sum, look) => sum + look.points.count, 0), stride = Math.max(1, Math.round(points / 6000));
    const breathe = () => new Promise((done) => setTimeout(done));
    let places = [{ ...start }];
    for (const axis of axes) {
      places = places.flatMap((place) => Array.from({ length: 2 * steps + 1 }, (_, i) => ({ ...place, [axis.key]: start[axis.key] + SEARCHED[axis.key] * (i - steps) / steps })));
    }
    const found = [];
    for (let i = 0; i < places.length; i++) {
      found.push({ change: places[i], score: value(places[i], COARSE_DEG, stride) });
      if (i % 40 === 39) { said(0.6 * i / places.length); await breathe(); }
    }
    found.sort((a, b) => b.score - a.score);
    let candidates = found.slice(0, CANDIDATES).concat({ change: { ...start } });
    for (const [number, [degrees, share, thin, kept]] of [[COARSE_DEG, 0.25, stride, CANDIDATES], [MIDDLE_DEG, 0.12, stride, 5], [FINE_DEG, 0.08, 1, 1]].entries()) {
      for (const candidate of candidates) {
        this.climb(candidate, axes, share, (change) => value(change, degrees, thin));
        await breathe();
      }
      candidates = candidates.sort((a, b) => b.score - a.score).filter(({ change }, i, all) => all.findIndex((other) => axes.every(({ key }) => Math.abs(other.change[key] - change[key]) < 0.02 * SEARCHED[key])) === i).slice(0, kept);
      said(0.6 + 0.4 * (number + 1) / 3);
    }
    const best = candidates[0].change;
    for (const axis of axes) best[axis.key] = Math.min(axis.most, Math.max(-axis.most, Number(best[axis.key].toFixed(axis.unit === 'm' ? 3 : axis.unit === 'ms' ? 1 : 2))));
    return best;
  }

  // Goes uphill from a place, an axis after the other, in steps that are halved.
  climb(candidate, axes, share, value) {
    candidate.score = value(candidate.change);
    for (let step = share; step > share / 20; step /= 2) {
      for (let moved = true, turns = 0; moved && turns < 12; turns++) {
        moved = false;
        for (const axis of axes) for (const sign of [-1, 1]) {
          const tried = { ...candidate.change, [axis.key]: candidate.change[axis.key] + sign * step * SEARCHED[axis.key] }, score = value(tried);
          if (score > candidate.score) { candidate.score = score; candidate.change = tried; moved = true; }
        }
      }
    }
  }
}
