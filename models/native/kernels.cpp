// Training of small convolutions, of 3x3 or 1x1, on a CPU. Sixteen images lie side by side in memory,
// so that the lanes of a vector are full, however few channels there are.
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

// channels of the input; those of the result in `groups` of `size`, at most 8 (groups * size may
// exceed them); rows and columns of the result
struct Convolution { int channels, groups, size, rows, columns; };

struct Step {
    int blocks, channels, relu, norm, pool, border;  // border: of the gradient
    int norm_first;                                  // ReLU after the norm, not before it
    int side, depthwise;                             // kernels of side x side; one for each channel
    float eps, momentum;
    Convolution ahead, back;                         // back: from the gradient to that of the input
    Plane input;                                     // with its border
    Plane activation;                                // ahead of the norm
    Plane output;                                    // within its border
    Plane gradient;                                  // of the convolution's result, with border
    Plane input_gradient;                            // within its border
    const float *weight, *bias, *gain, *offset;      // bias may be null
    float *running_mean, *running_var;
    float *drop, *factor, *shift;                    // [blocks][channels][16]
    float *mean, *deviation;                         // [channels]
    float *space;                                    // for sums, and for packed weights
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

// CO channels of WIDE neighbouring pixels; weights are [in][SIDE][SIDE][CO]
template <int CO, int WIDE, int SIDE>
inline void pixels(const float* in, Plane s, const float* weights, int channels,
                   const float* bias, bool relu, float* out, Plane t) {
    vec sums[CO][WIDE];
    for (int o = 0; o < CO; o++)
        for (int i = 0; i < WIDE; i++) sums[o][i] = all(bias[o]);
    for (int c = 0; c < channels; c++)
        for (int r = 0; r < SIDE; r++) {
            const float* p = in + c * s.channel + r * s.row;
            const float* w = weights + (c * SIDE + r) * SIDE * CO;
            vec x[WIDE + SIDE - 1];
            for (int i = 0; i < WIDE + SIDE - 1; i++) x[i] = load(p + i * LANES);
            for (int k = 0; k < SIDE; k++)
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

// gradients of weights [CO][one channel of in][SIDE][SIDE] from one block
template <int CO, int SIDE>
void correlate(const float* in, Plane s, const float* grad, Plane t, int rows, int columns,
               float* out, ptrdiff_t out_stride) {
    for (int k = 0; k < SIDE; k++) {
        float total[CO][SIDE] = {};
        for (int l = 0; l < LANES; l += WIDTH) {
            vec sums[CO][SIDE] = {};
            for (int r = 0; r < rows; r++) {
                const float* p = in + (r + k) * s.row + l;
                const float* g = grad + r * t.row + l;
                vec x[SIDE];
                for (int i = 1; i < SIDE; i++) x[i] = load(p + (i - 1) * LANES);
                for (int c = 0; c < columns; c++) {
                    for (int i = 1; i < SIDE; i++) x[i - 1] = x[i];
                    x[SIDE - 1] = load(p + (c + SIDE - 1) * LANES);
                    for (int o = 0; o < CO; o++) {
                        const vec y = load(g + o * t.channel + c * LANES);
                        for (int i = 0; i < SIDE; i++) sums[o][i] += x[i] * y;
                    }
                }
            }
            for (int o = 0; o < CO; o++)
                for (int i = 0; i < SIDE; i++) total[o][i] = sum(sums[o][i], total[o][i]);
        }
        for (int o = 0; o < CO; o++)
            for (int i = 0; i < SIDE; i++) out[o * out_stride + k * SIDE + i] = total[o][i];
    }
}

// f(std::integral_constant<int, value>), for a value from 1 to MOST that is known only at run time
template <int MOST, typename F>
void with_constant(int value, F f) {
    if (value == MOST) return f(std::integral_constant<int, MOST>());
    if constexpr (MOST > 1) with_constant<MOST - 1>(value, f);
}

// the same for the side of a kernel
template <typename F>
void with_side(const Step* s, F f) {
    s->side == 1 ? f(std::integral_constant<int, 1>()) : f(std::integral_constant<int, 3>());
}

// The convolution of a step; or the one back, whose weights are rotated and transposed.
void conv(const Step* s, bool back) {
    const Convolution& n = back ? s->back : s->ahead;
    const int in = s->depthwise ? 1 : n.channels, taps = s->side * s->side, size = n.size;
    const int out = back ? s->ahead.channels : s->channels;
    float *bias = s->space, *packed = bias + n.groups * size;
    for (int o = 0; o < n.groups * size; o++) {
        bias[o] = s->bias && !back && o < out ? s->bias[o] : 0;
        for (int c = 0; c < in; c++)
            for (int k = 0; k < taps; k++)
                packed[((o / size * in + c) * taps + k) * size + o % size] =
                    o >= out ? 0 : back ? s->weight[(c * out + o) * taps + taps - 1 - k]
                                        : s->weight[(o * in + c) * taps + k];
    }
    const Plane from = back ? s->gradient : s->input;
    const Plane to = back ? s->input_gradient : s->activation;
    const bool relu = s->relu && !s->norm_first && !back;
    const int most = (REGISTERS - (REGISTERS == 16 ? 2 : 5)) / size;  // sums that stay in registers
    with_side(s, [&](auto side) { with_constant<8>(size, [&](auto co) {
        with_constant<4>(std::min({most, n.columns, 4}), [&](auto wide) {
            constexpr int CO = decltype(co)::value, WIDE = decltype(wide)::value;
            constexpr int SIDE = decltype(side)::value;
#pragma omp parallel for collapse(2) schedule(static)
            for (int b = 0; b < s->blocks; b++)
                for (int r = 0; r < n.rows; r++)
                    for (int g = 0; g < n.groups; g++)
                        for (int c = 0; c < n.columns; c += WIDE) {
                            const int at = std::min(c, n.columns - WIDE) * LANES;  // may overlap
                            const float* first = from.of(b, s->depthwise ? g : 0, r);
                            for (int l = at; l < at + LANES; l += WIDTH)
                                pixels<CO, WIDE, SIDE>(first + l, from,
                                                       packed + g * in * taps * CO, in,
                                                       bias + g * CO, relu,
                                                       to.of(b, g * CO, r) + l, to);
                        }
        });
    }); });
}

// The gradients of the weights; `grad`: of the convolution's result, within its border.
void correlate_all(const Step* s, Plane grad, float* weight_gradient) {
    const Convolution& n = s->ahead;
    const int most = REGISTERS == 16 ? 4 : 8;  // gradient channels at a time, for the same reason
    const int in = s->depthwise ? 1 : n.channels, taps = s->side * s->side;
    const ptrdiff_t stride = in * taps, size = n.groups * n.size * stride;  // of each block
    with_side(s, [&](auto side) {
#pragma omp parallel for collapse(3) schedule(static)
        for (int b = 0; b < s->blocks; b++)
            for (int g = 0; g < n.groups; g++)
                for (int c = 0; c < in; c++)
                    for (int first = 0; first < n.size; first += most) {
                        const int at = g * n.size + first;
                        const float* from = s->input.of(b, s->depthwise ? g : c);
                        float* to = s->space + b * size + at * stride + c * taps;
                        with_constant<8>(std::min(most, n.size - first), [&](auto co) {
                            correlate<decltype(co)::value, decltype(side)::value>(
                                from, s->input, grad.of(b, at), grad, n.rows, n.columns, to,
                                stride);
                        });
                    }
    });
    for (int i = 0; i < s->channels * stride; i++) {
        float total = 0;
        for (int b = 0; b < s->blocks; b++) total += s->space[b * size + i];
        weight_gradient[i] = total;
    }
}

// The largest value that a ReLU at this place holds back: 0; without a ReLU, nothing is.
inline vec threshold(bool has_relu) { return all(has_relu ? 0 : -INFINITY); }

// the activations that one output pixel comes from, and the same after BatchNorm, with a ReLU that
// may follow it, and dropout
struct Window {
    vec x[4], scaled[4];
    int size;
    Window(Plane p, int pool, const float* from, int r, int c, vec factor, vec shift, vec least)
        : size(pool ? 4 : 1) {
        from += (1 + pool) * (r * p.row + c * LANES);
        const ptrdiff_t step[] = {0, LANES, p.row, p.row + LANES};
        for (int i = 0; i < size; i++) {
            x[i] = load(from + step[i]);
            scaled[i] = x[i] * factor + shift;
            scaled[i] = scaled[i] < least ? least : scaled[i];
        }
    }
    vec highest() const {
        vec best = scaled[0];
        for (int i = 1; i < size; i++) best = greater(best, scaled[i]);
        return best;
    }
};

// f(block, channel, first lane, offset in [blocks][channels][16]) for the vectors of all planes
template <typename F>
void each_vector(const Step* s, F f) {
#pragma omp parallel for collapse(2) schedule(static)
    for (int b = 0; b < s->blocks; b++)
        for (int c = 0; c < s->channels; c++)
            for (int l = 0; l < LANES; l += WIDTH) f(b, c, l, (b * s->channels + c) * LANES + l);
}

// f(row, column, window) for all pixels of the output, in one vector of `each_vector`
template <typename F>
inline void each_window(const Step* s, int b, int c, int l, int at, F f) {
    const Plane a = s->activation;
    const vec factor = load(s->factor + at), shift = load(s->shift + at);
    const vec least = threshold(s->norm_first);
    const float* from = a.of(b, c) + l;
    const int rows = s->ahead.rows >> s->pool, columns = s->ahead.columns >> s->pool;
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < columns; i++)
            f(r, i, Window(a, s->pool, from, r, i, factor, shift, least));
}

// use(channel, one, two): the sums over its planes, in a fixed order, of what
// add(block, channel, lane, offset, ones, twos) adds to two vectors
template <typename F, typename G>
void sum_up(const Step* s, F add, G use) {
    float* sums = s->space;  // [blocks][channels][2]
    each_vector(s, [&](int b, int c, int l, int at) {
        vec ones{}, twos{};
        add(b, c, l, at, ones, twos);
        float* of_plane = sums + at / LANES * 2;
        of_plane[0] = sum(ones, l ? of_plane[0] : 0);
        of_plane[1] = sum(twos, l ? of_plane[1] : 0);
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
    const int rows = s->ahead.rows, columns = s->ahead.columns;
    conv(s, false);
    if (!s->relu) return;
    const Plane a = s->activation;
    if (s->norm && training) {
        const double count = double(s->blocks) * LANES * rows * columns;
        sum_up(
            s,
            [&](int b, int c, int l, int, vec& ones, vec& twos) {
                for (int r = 0; r < rows; r++)
                    for (int i = 0; i < columns; i++) {
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
    const Plane out = s->output;
    each_vector(s, [&](int b, int c, int l, int at) {
        float factor = 1, shift = 0;
        if (s->norm) {
            const float deviation =
                training ? s->deviation[c] : std::sqrt(s->running_var[c] + s->eps);
            factor = s->gain[c] / deviation;
            shift = s->offset[c] - (training ? s->mean[c] : s->running_mean[c]) * factor;
        }
        const vec drop = training ? load(s->drop + at) : all(1);
        store(s->factor + at, drop * factor);
        store(s->shift + at, drop * shift);
        each_window(s, b, c, l, at, [&](int r, int i, const Window& w) {
            store(out.of(b, c, r) + i * LANES + l, w.highest());
        });
    });
}

// grad: of the output. Writes all gradients, that of the input only where it is needed.
void backward(const Step* s, Plane grad, int needs_input, float* weight_gradient,
              float* bias_gradient, float* gain_gradient, float* offset_gradient) {
    const int channels = s->channels, rows = s->ahead.rows, columns = s->ahead.columns;
    Plane inside = s->gradient;
    inside.at += s->border * (inside.row + LANES);
    const float count = float(s->blocks) * LANES * rows * columns;
    const vec ahead = threshold(!s->norm_first), behind = threshold(s->norm_first);  // of the norm
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
                    vec y = load(grad.of(b, c, r) + i * LANES + l);
                    y = best <= behind ? vec{} : y;
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
    each_vector(s, [&](int b, int c, int l, int at) {
        float gain = 1, constant = 0, slope = 0;
        if (s->norm) {
            gain = s->gain[c] / s->deviation[c];
            slope = -gain * gain_gradient[c] / (s->deviation[c] * count);
            constant = -gain * offset_gradient[c] / count - slope * s->mean[c];
        }
        const ptrdiff_t step[] = {0, LANES, inside.row, inside.row + LANES};
        const vec drop = load(s->drop + at) * gain;
        float* to = inside.of(b, c) + l;
        each_window(s, b, c, l, at, [&](int r, int i, const Window& w) {
            vec left = load(grad.of(b, c, r) + i * LANES + l) * drop;
            float* o = to + (1 + s->pool) * (r * inside.row + i * LANES);
            if (!s->relu) return store(o, left);
            const vec best = w.highest();
            left = best <= behind ? vec{} : left;
            for (int j = 0; j < w.size; j++) {  // it goes to the first of the highest
                const vec mine = w.scaled[j] == best ? left : vec{};
                left = w.scaled[j] == best ? vec{} : left;
                store(o + step[j], w.x[j] <= ahead ? vec{} : mine + (constant + slope * w.x[j]));
            }
        });
    });
    correlate_all(s, inside, weight_gradient);
    if (s->bias)
        for (int c = 0; c < channels; c++) {
            float total = 0;
            for (int l = 0; l < LANES; l += WIDTH) {
                vec sums{};
                for (int b = 0; b < s->blocks; b++)
                    for (int r = 0; r < rows; r++)
                        for (int i = 0; i < columns; i++)
                            sums += load(inside.of(b, c, r) + i * LANES + l);
                total = sum(sums, total);
            }
            bias_gradient[c] = total;
        }
    if (needs_input) conv(s, true);
}

}  // extern "C"
