// SPDX-License-Identifier: Apache-2.0
// What is large of each frame stands in an element of its own behind this script, but for that of the frame that is shown
// first: the page shows it while the browser still reads the others, and each is decoded when it is asked for.

class Arrival {
  constructor(count, first) {
    this.count = count; this.first = first; this.isWhole = false; this.known = new Map();
    this.whole = new Promise((done) => { this.finish = () => { this.isWhole = true; done(); }; });
  }

  element(index) { return document.getElementById(`frame-${index}`); }

  // Whether a frame is there as a whole: the first one comes before the script, others when something comes behind them.
  has(index) { return index === this.first || this.isWhole || this.element(index + (index + 1 === this.first ? 2 : 1)) !== null; }

  // Resolves when a frame is there.
  async of(index) { if (!this.has(index)) await this.whole; }

  // What is large of a frame: cloud, images by camera, perhaps points and beyond of its edges, each as base64.
  parts(index) {
    if (!this.known.has(index)) {
      if (this.known.size >= 2) this.known.delete(this.known.keys().next().value);
      this.known.set(index, JSON.parse(this.element(index).textContent));
    }
    return this.known.get(index);
  }
}
