// SPDX-License-Identifier: Apache-2.0
// Colours that people tell apart whatever colours they see: viridis (S. van der Walt and N. Smith) for what is more or
// less, the eight of M. Okabe and K. Ito for what is one or another.

const VIRIDIS = [
  [0.2777273272234177, 0.005407344544966578, 0.3340998053353061], [0.1050930431085774, 1.404613529898575, 1.384590162594685],
  [-0.3308618287255563, 0.214847559468213, 0.09509516302823659], [-4.634230498983486, -5.799100973351585, -19.33244095627987],
  [6.228269936347081, 14.17993336680509, 56.69055260068105], [4.776384997670288, -13.74514537774601, -65.35303263337234],
  [-5.435455855934631, 4.645852612178535, 26.3124352495832],
];  // of degree 6 in t, fitted by M. Zucker
const DARKEST = 0.15;  // of viridis: darker ones are lost on asphalt
const OKABE_ITO = ['#0072B2', '#E69F00', '#009E73', '#D55E00', '#CC79A7', '#56B4E9', '#F0E442', '#999999'];

function viridis(share) {
  const t = DARKEST + (1 - DARKEST) * Math.min(1, Math.max(0, share));
  return [0, 1, 2].map((part) => Math.round(255 * Math.min(1, Math.max(0, VIRIDIS.reduceRight((sum, row) => sum * t + row[part], 0)))));
}

const partsOf = (hex) => [1, 3, 5].map((start) => parseInt(hex.slice(start, start + 2), 16));
const packedColour = ([r, g, b]) => (255 << 24 | b << 16 | g << 8 | r) >>> 0;
const GRADIENT = Uint32Array.from({ length: 256 }, (_, i) => packedColour(viridis(i / 255)));
const KINDS = Uint32Array.from({ length: 256 }, (_, i) => packedColour(partsOf(OKABE_ITO[i % OKABE_ITO.length])));
