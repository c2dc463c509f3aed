// Training of small 3x3 convolutions on a CPU. Sixteen images lie side by side in memory, so that
// the lanes of a vector are full, however few channels there are.
//
// Activations are [blocks][channels][rows][columns][16] floats; a block is 16 images. The input of a
// convolution has its border of zeros in memory; strides are given in floats. Sums over a batch are
// kept for each block and added up in a fixed order: results depend neither on the number of threads
// nor on the width of the processor's vectors.
// network.py describes a step and allocates its memory; kernels.py compiles and loads this file.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <type_traits>

struct Plane {  // an activation; strides of blocks, channels and rows
    float* at;
    ptrdiff_t block, channel, row;
    float* of(int b, int c, int r = 0) const { return at + b * block + c * channel + r * row; }
};

struct Step {
    int blocks, in_channels, channels, rows, columns;  // of the convolution's result
    int groups, size, back_groups, back_size;          // see `conv`; groups * size >= channels
    int relu, norm, pool, border;                      // border: of the gradient
    float eps, momentum;
    Plane input;                                       // with its border
    Plane activation;                                  // after ReLU
    Plane output;                                      // within its border
    Plane gradient;                                    // of the convolution's result, with border
    Plane input_gradient;                              // within its border
    const float *weight, *bias, *gain, *offset;        // bias may be null
    float *running_mean, *running_var;
    float *drop, *factor, *shift;                      // [blocks][channels][16]
    float *mean, *deviation;                           // [channels]
    float *space;                                      // for sums, and for packed weights
};

namespace {

constexpr int LANES = 16;  // images in a block

// A vector as the processor has it: wider ones go through memory, and are many times slower.
#if defined(__AVX512F__)
constexpr int WIDTH = 16, REGISTERS = 32;
#elif defined(__AVX__)
constexpr int WIDTH = 8, REGISTERS = 16;
#elif defined(__aarch64__)
constexpr int WIDTH = 4, REGISTERS = 32;
#else
constexpr int WIDTH = 4, REGISTERS = 16;
#endif
typedef float vec __attribute__((vector_size(4 * WIDTH), aligned(4)));

inline vec load(const float* p) { return *reinterpret_cast<const vec*>(p); }
inline void store(float* p, vec v) { *reinterpret_cast<vec*>(p) = v; }
inline vec all(float value) { return value - vec{}; }
inline float sum(vec v, float total = 0) {
    for (int i = 0; i < WIDTH; i++) total += v[i];
    return total;
}
// the greater of two, or NaN if one is, so that a diverging run is noticed
inline vec greater(vec a, vec b) { return ((b > a) | (b != b)) ? b : a; }

// CO channels of WIDE neighbouring pixels; weights are [in][3][3][CO]
template <int CO, int WIDE>
inline void pixels(const float* in, Plane s, const float* weights, int channels,
                   const float* bias, bool relu, float* out, Plane t) {
    vec sums[CO][WIDE];
    for (int o = 0; o < CO; o++)
        for (int i = 0; i < WIDE; i++) sums[o][i] = all(bias[o]);
    for (int c = 0; c < channels; c++)
        for (int r = 0; r < 3; r++) {
            const float* p = in + c * s.channel + r * s.row;
            const float* w = weights + (c * 3 + r) * 3 * CO;
            vec x[WIDE + 2];
            for (int i = 0; i < WIDE + 2; i++) x[i] = load(p + i * LANES);
            for (int k = 0; k < 3; k++)
                for (int o = 0; o < CO; o++) {
                    const vec weight = all(w[k * CO + o]);
                    for (int i = 0; i < WIDE; i++) sums[o][i] += x[i + k] * weight;
                }
        }
    for (int o = 0; o < CO; o++)
        for (int i = 0; i < WIDE; i++) {
            const vec v = sums[o][i];
            // NaN stays NaN, so that a diverging run is noticed
            store(out + o * t.channel + i * LANES, relu ? (v < 0 ? vec{} : v) : v);
        }
}

template <int CO, int WIDE>
void convolve(Plane in, const float* weights, const float* bias, bool relu, Plane out, int blocks,
              int channels, int groups, int rows, int columns) {
#pragma omp parallel for collapse(2) schedule(static)
    for (int b = 0; b < blocks; b++)
        for (int r = 0; r < rows; r++)
            for (int g = 0; g < groups; g++)
                for (int c = 0; c < columns; c += WIDE) {
                    const int at = std::min(c, columns - WIDE) * LANES;  // the last may overlap
                    for (int l = at; l < at + LANES; l += WIDTH)
                        pixels<CO, WIDE>(in.of(b, 0, r) + l, in, weights + g * channels * 9 * CO,
                                         channels, bias + g * CO, relu,
                                         out.of(b, g * CO, r) + l, out);
                }
}

// gradients of weights [CO][one channel of in][3][3] from one block
template <int CO>
void correlate(const float* in, Plane s, const float* grad, Plane t, int rows, int columns,
               float* out, ptrdiff_t out_stride) {
    for (int k = 0; k < 3; k++) {
        float total[CO][3] = {};
        for (int l = 0; l < LANES; l += WIDTH) {
            vec sums[CO][3] = {};
            for (int r = 0; r < rows; r++) {
                const float* p = in + (r + k) * s.row + l;
                const float* g = grad + r * t.row + l;
                vec x0 = load(p), x1 = load(p + LANES);
                for (int c = 0; c < columns; c++) {
                    const vec x2 = load(p + (c + 2) * LANES);
                    for (int o = 0; o < CO; o++) {
                        const vec y = load(g + o * t.channel + c * LANES);
                        sums[o][0] += x0 * y;
                        sums[o][1] += x1 * y;
                        sums[o][2] += x2 * y;
                    }
                    x0 = x1;
                    x1 = x2;
                }
            }
            for (int o = 0; o < CO; o++)
                for (int i = 0; i < 3; i++) total[o][i] = sum(sums[o][i], total[o][i]);
        }
        for (int o = 0; o < CO; o++)
            for (int i = 0; i < 3; i++) out[o * out_stride + k * 3 + i] = total[o][i];
    }
}

// f(std::integral_constant<int, value>), for a value from 1 to MOST that is known only at run time
template <int MOST, typename F>
void with_constant(int value, F f) {
    if (value == MOST) return f(std::integral_constant<int, MOST>());
    if constexpr (MOST > 1) with_constant<MOST - 1>(value, f);
}

// Channels come in `groups` of `size`, at most 8; weights are [groups][in][3][3][size].
void conv(Plane in, const float* weights, const float* bias, bool relu, Plane out, int blocks,
          int channels, int groups, int size, int rows, int columns) {
    const int most = (REGISTERS - (REGISTERS == 16 ? 2 : 5)) / size;  // sums that stay in registers
    with_constant<8>(size, [&](auto co) {
        with_constant<4>(std::min({most, columns, 4}), [&](auto wide) {
            convolve<decltype(co)::value, decltype(wide)::value>(
                in, weights, bias, relu, out, blocks, channels, groups, rows, columns);
        });
    });
}

void correlate_all(Plane in, Plane grad, float* out, int blocks, int channels, int groups,
                   int size, int rows, int columns) {
    const int most = REGISTERS == 16 ? 4 : 8;  // gradient channels at a time, for the same reason
#pragma omp parallel for collapse(3) schedule(static)
    for (int b = 0; b < blocks; b++)
        for (int g = 0; g < groups; g++)
            for (int c = 0; c < channels; c++)
                for (int first = 0; first < size; first += most) {
                    const int at = g * size + first;
                    float* to = out + ((ptrdiff_t(b) * groups * size + at) * channels + c) * 9;
                    with_constant<8>(std::min(most, size - first), [&](auto co) {
                        correlate<decltype(co)::value>(in.of(b, c), in, grad.of(b, at), grad, rows,
                                                       columns, to, channels * 9);
                    });
                }
}

// the activations that one output pixel comes from, and the same after BatchNorm and dropout
struct Window {
    vec x[4], scaled[4];
    int size;
    Window(Plane p, int pool, const float* from, int r, int c, vec factor, vec shift)
        : size(pool ? 4 : 1) {
        from += (1 + pool) * (r * p.row + c * LANES);
        const ptrdiff_t step[] = {0, LANES, p.row, p.row + LANES};
        for (int i = 0; i < size; i++) {
            x[i] = load(from + step[i]);
            scaled[i] = x[i] * factor + shift;
        }
    }
    vec highest() const {
        vec best = scaled[0];
        for (int i = 1; i < size; i++) best = greater(best, scaled[i]);
        return best;
    }
};

// weights [out][in][3][3] as `conv` takes them, or rotated and transposed for the backward pass
void pack(const float* weights, bool back, int out, int in, int groups, int size, float* packed) {
    for (int o = 0; o < groups * size; o++)
        for (int c = 0; c < in; c++)
            for (int k = 0; k < 9; k++)
                packed[((o / size * in + c) * 9 + k) * size + o % size] =
                    o >= out ? 0 : back ? weights[(c * out + o) * 9 + 8 - k]
                                        : weights[(o * in + c) * 9 + k];
}

// f(block, channel, offset of its 16 lanes in [blocks][channels][16]) for all of them
template <typename F>
void each_plane(const Step* s, F f) {
#pragma omp parallel for collapse(2) schedule(static)
    for (int b = 0; b < s->blocks; b++)
        for (int c = 0; c < s->channels; c++) f(b, c, (b * s->channels + c) * LANES);
}

// f(row, column, window) for all pixels of the output; `at`: of the plane's vector from lane l
template <typename F>
inline void each_window(const Step* s, int b, int c, int l, int at, F f) {
    const Plane a = s->activation;
    const vec factor = load(s->factor + at), shift = load(s->shift + at);
    const float* from = a.of(b, c) + l;
    const int rows = s->rows >> s->pool, columns = s->columns >> s->pool;
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < columns; i++) f(r, i, Window(a, s->pool, from, r, i, factor, shift));
}

// use(channel, one, two): the sums over its planes, in a fixed order, of what
// add(block, channel, lane, offset, ones, twos) adds to two vectors
template <typename F, typename G>
void sum_up(const Step* s, F add, G use) {
    float* sums = s->space;  // [blocks][channels][2]
    each_plane(s, [&](int b, int c, int at) {
        float one = 0, two = 0;
        for (int l = 0; l < LANES; l += WIDTH) {
            vec ones{}, twos{};
            add(b, c, l, at + l, ones, twos);
            one = sum(ones, one);
            two = sum(twos, two);
        }
        sums[at / LANES * 2] = one;
        sums[at / LANES * 2 + 1] = two;
    });
    for (int c = 0; c < s->channels; c++) {
        double one = 0, two = 0;
        for (int b = 0; b < s->blocks; b++) {
            one += sums[(b * s->channels + c) * 2];
            two += sums[(b * s->channels + c) * 2 + 1];
        }
        use(c, one, two);
    }
}

}  // namespace

extern "C" {

// `drop` is what Dropout2d multiplies with; in evaluation it is 1, and the norm is the running one.
void forward(const Step* s, int training) {
    const int channels = s->channels, padded = s->groups * s->size;
    float* bias = s->space;
    for (int c = 0; c < padded; c++) bias[c] = s->bias && c < channels ? s->bias[c] : 0;
    float* packed = bias + padded;
    pack(s->weight, false, channels, s->in_channels, s->groups, s->size, packed);
    conv(s->input, packed, bias, s->relu, s->activation, s->blocks, s->in_channels, s->groups,
         s->size, s->rows, s->columns);
    if (!s->relu) return;
    const Plane a = s->activation;
    if (s->norm && training) {
        const double count = double(s->blocks) * LANES * s->rows * s->columns;
        sum_up(
            s,
            [&](int b, int c, int l, int, vec& ones, vec& twos) {
                for (int r = 0; r < s->rows; r++)
                    for (int i = 0; i < s->columns; i++) {
                        const vec v = load(a.of(b, c, r) + i * LANES + l);
                        ones += v;
                        twos += v * v;
                    }
            },
            [&](int c, double one, double two) {
                const double mean = one / count, variance = std::fmax(two / count - mean * mean, 0);
                s->mean[c] = mean;
                s->deviation[c] = std::sqrt(variance + s->eps);
                s->running_mean[c] += s->momentum * (s->mean[c] - s->running_mean[c]);
                s->running_var[c] +=
                    s->momentum * (float(variance * count / (count - 1)) - s->running_var[c]);
            });
    }
    for (int c = 0; c < channels; c++) {
        float factor = 1, shift = 0;
        if (s->norm) {
            const float deviation =
                training ? s->deviation[c] : std::sqrt(s->running_var[c] + s->eps);
            factor = s->gain[c] / deviation;
            shift = s->offset[c] - (training ? s->mean[c] : s->running_mean[c]) * factor;
        }
        for (int b = 0; b < s->blocks; b++) {
            const int at = (b * channels + c) * LANES;
            for (int i = at; i < at + LANES; i++) {
                const float drop = training ? s->drop[i] : 1;
                s->factor[i] = drop * factor;
                s->shift[i] = drop * shift;
            }
        }
    }
    const Plane out = s->output;
    each_plane(s, [&](int b, int c, int at) {
        for (int l = 0; l < LANES; l += WIDTH)
            each_window(s, b, c, l, at + l, [&](int r, int i, const Window& w) {
                store(out.of(b, c, r) + i * LANES + l, w.highest());
            });
    });
}

// grad: of the output. Writes all gradients, that of the input only where it is needed.
void backward(const Step* s, Plane grad, int needs_input, float* weight_gradient,
              float* bias_gradient, float* gain_gradient, float* offset_gradient) {
    const int channels = s->channels;
    Plane inside = s->gradient;
    inside.at += s->border * (inside.row + LANES);
    const float count = float(s->blocks) * LANES * s->rows * s->columns;
    if (s->norm)  // sums of grad * drop, alone and times the activation that it goes to
        sum_up(
            s,
            [&](int b, int c, int l, int at, vec& ones, vec& twos) {
                each_window(s, b, c, l, at, [&](int r, int i, const Window& w) {
                    vec x = w.x[0], best = w.scaled[0];
                    for (int j = 1; j < w.size; j++) {
                        x = w.scaled[j] > best ? w.x[j] : x;
                        best = w.scaled[j] > best ? w.scaled[j] : best;
                    }
                    const vec y = load(grad.of(b, c, r) + i * LANES + l);
                    ones += y;
                    twos += y * x;
                });
                const vec drop = load(s->drop + at);
                ones *= drop;
                twos *= drop;
            },
            [&](int c, double one, double two) {
                offset_gradient[c] = one;
                gain_gradient[c] = (two - s->mean[c] * one) / s->deviation[c];
            });
    each_plane(s, [&](int b, int c, int at) {
        float gain = 1, constant = 0, slope = 0;
        if (s->norm) {
            gain = s->gain[c] / s->deviation[c];
            slope = -gain * gain_gradient[c] / (s->deviation[c] * count);
            constant = -gain * offset_gradient[c] / count - slope * s->mean[c];
        }
        const ptrdiff_t step[] = {0, LANES, inside.row, inside.row + LANES};
        for (int l = 0; l < LANES; l += WIDTH) {
            const vec drop = load(s->drop + at + l) * gain;
            float* to = inside.of(b, c) + l;
            each_window(s, b, c, l, at + l, [&](int r, int i, const Window& w) {
                vec left = load(grad.of(b, c, r) + i * LANES + l) * drop;
                float* o = to + (1 + s->pool) * (r * inside.row + i * LANES);
                if (!s->relu) return store(o, left);
                const vec best = w.highest();
                for (int j = 0; j < w.size; j++) {  // it goes to the first of the highest
                    const vec mine = w.scaled[j] == best ? left : vec{};
                    left = w.scaled[j] == best ? vec{} : left;
                    store(o + step[j], w.x[j] <= 0 ? vec{} : mine + (constant + slope * w.x[j]));
                }
            });
        }
    });
    float* sums = s->space;
    const int size = s->groups * s->size * s->in_channels * 9;
    correlate_all(s->input, inside, sums, s->blocks, s->in_channels, s->groups, s->size, s->rows,
                  s->columns);
    for (int i = 0; i < channels * s->in_channels * 9; i++) {
        float total = 0;
        for (int b = 0; b < s->blocks; b++) total += sums[b * size + i];
        weight_gradient[i] = total;
    }
    if (s->bias)
        for (int c = 0; c < channels; c++) {
            float total = 0;
            for (int l = 0; l < LANES; l += WIDTH) {
                vec sums{};
                for (int b = 0; b < s->blocks; b++)
                    for (int r = 0; r < s->rows; r++)
                        for (int i = 0; i < s->columns; i++)
                            sums += load(inside.of(b, c, r) + i * LANES + l);
                total = sum(sums, total);
            }
            bias_gradient[c] = total;
        }
    if (!needs_input) return;
    const int padded = s->back_groups * s->back_size;
    float* none = s->space;
    for (int c = 0; c < padded; c++) none[c] = 0;
    pack(s->weight, true, s->in_channels, channels, s->back_groups, s->back_size, none + padded);
    const int grow = 2 * (s->border - 1);  // the input, without its border, is larger by so much
    conv(s->gradient, none + padded, none, false, s->input_gradient, s->blocks, channels,
         s->back_groups, s->back_size, s->rows + grow, s->columns + grow);
}

}  // extern "C"
