// SPDX-License-Identifier: Apache-2.0
// One card a camera: the image with the lidar points on it, coloured by depth.

class CameraCard {
  constructor(name, parent) {
    this.name = name;
    this.figure = document.createElement('figure');
    const caption = document.createElement('figcaption');
    caption.textContent = name;
    this.note = document.createElement('small');
    caption.append(this.note);
    this.canvas = document.createElement('canvas');
    this.canvas.dataset.camera = name;
    this.figure.append(caption, this.canvas);
    this.canvas.addEventListener('click', () => this.figure.classList.toggle('big'));
    parent.append(this.figure);
    this.turn = 0;
  }

  // options: overlay, size, near, far
  show(image, cloud, lag, options) {
    const turn = ++this.turn;
    if (!image) {
      this.note.textContent = 'no image in this frame';
      this.canvas.getContext('2d').clearRect(0, 0, this.canvas.width, this.canvas.height);
      this.pixels = [];
      return Promise.resolve();
    }
    this.pixels = projectCloud(cloud, image);
    this.note.textContent = `${image.width} × ${image.height}, ${image.params.camera_model}, ${lag} ms from the sweep, ${this.pixels.length} points`;
    const picture = new Image();
    return new Promise((done) => {
      picture.onload = () => { if (turn === this.turn) this.paint(picture, image, options); done(); };
      picture.onerror = done;
      picture.src = `data:image/jpeg;base64,${image.jpeg}`;
    });
  }

  paint(picture, image, options) {
    const context = this.canvas.getContext('2d');
    this.canvas.width = picture.width; this.canvas.height = picture.height;
    context.drawImage(picture, 0, 0);
    if (!options.overlay) return;
    const scale = picture.width / image.width, size = options.size * picture.width / 960;
    const far = Math.log(options.far / options.near);
    // The farthest first, so that near points stay on top.
    const order = this.pixels.slice().sort((a, b) => b[2] - a[2]);
    for (const [u, v, depth] of order) {
      const [r, g, b] = rainbow(1 - Math.min(1, Math.max(0, Math.log(depth / options.near) / far)));
      context.fillStyle = `rgb(${r},${g},${b})`;
      // Pixel centres are whole numbers, a canvas counts from the corner.
      context.fillRect((u + 0.5) * scale - size / 2, (v + 0.5) * scale - size / 2, size, size);
    }
  }
}
