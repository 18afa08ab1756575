// The kernels of byol_a/kernels/base.py for CPUs. Plain C++17 with the compilers' vector types (gcc, clang): no
// intrinsics, so that what the machine has (AVX2, AVX-512, NEON) is the compiler's affair.
//
// Maps are (N, H, W, C) in memory: C side by side, any other strides. A vector holds some of the channels. Clips are
// shared out among threads; what is summed over clips is written clip by clip and added up by the caller, in order,
// so that no sum depends on the number of threads.

#include <type_traits>

#include "vectors.h"

namespace {

struct BFloat16 {
    uint16_t bits;
};

// What a storage type is computed in.
template <typename Store>
using RealOf = std::conditional_t<std::is_same_v<Store, BFloat16>, float, Store>;

template <typename V, typename T>
inline V load_as(const T* from) {
    V value;
    std::memcpy(&value, from, sizeof(V));
    return value;
}

typedef uint16_t Halves __attribute__((vector_size(BYTES / 2)));
typedef uint32_t Words __attribute__((vector_size(BYTES)));

inline VectorOf<float> load(const BFloat16* from) {
    Words words = __builtin_convertvector(load_as<Halves>(from), Words) << 16;
    return load_as<VectorOf<float>>(&words);
}

// To the nearest, ties to even, as torch rounds; NaN, which the rounding could turn into a number, stays one.
inline void store(BFloat16* to, VectorOf<float> value) {
    Words bits = load_as<Words>(&value);
    Words rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16;
    Words number = (Words)(value == value);
    Halves halves = __builtin_convertvector((rounded & number) | (0x7FC0 & ~number), Halves);
    std::memcpy(to, &halves, sizeof halves);
}

template <typename Store>
inline RealOf<Store> read(const Store* from) {
    return *from;
}
template <>
inline float read(const BFloat16* from) {
    uint32_t bits = uint32_t(from->bits) << 16;
    return load_as<float>(&bits);
}

template <typename V>
inline V maximum(V a, V b) {
    return ((b > a) | (b != b)) ? b : a;  // NaN stays: a run that diverges is to be noticed
}

template <typename V>
inline V zero() {
    return V{} * 0;
}

// (N, H, W, C) with C side by side.
template <typename Store>
struct Map {
    Store* data;
    Index clip, row, column;
    Store* at(Index n, Index h, Index w) const { return data + n * clip + h * row + w * column; }
};

// ---------------------------------------------------------------------------------------------------------------
// The first block: a 3x3 convolution of one channel, whose full map is never written.
// ---------------------------------------------------------------------------------------------------------------

// One clip (F, T), in a frame of zeros.
template <typename Real>
struct Padded {
    Index columns;
    Real* data;
    Padded(const Real* image, Index frequencies, Index frames)
        : columns(frames + 2), data(new Real[(frequencies + 2) * (frames + 2)]()) {
        for (Index f = 0; f < frequencies; ++f)
            std::memcpy(data + (f + 1) * columns + 1, image + f * frames, sizeof(Real) * frames);
    }
    ~Padded() { delete[] data; }
    Padded(const Padded&) = delete;
    // The pixel that tap (0, 0) of the kernel at (f, t) looks at.
    const Real* under(Index f, Index t) const { return data + f * columns + t; }
};

template <typename Real>
struct Window {  // the map's values at the four positions that are pooled into one
    VectorOf<Real> at[4];
};

template <typename Real>
inline Window<Real> convolve(const Real* under, Index columns, const VectorOf<Real>* weight) {
    Window<Real> window;
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
        const Real* corner = under + (i >> 1) * columns + (i & 1);
        VectorOf<Real> sum = weight[0] * corner[0];
#pragma GCC unroll 9
        for (int tap = 1; tap < 9; ++tap) sum += weight[tap] * corner[(tap / 3) * columns + tap % 3];
        window.at[i] = sum;
    }
    return window;
}

// Hands the gradient to the first of the largest values, where that is above `floor`; 0 elsewhere.
template <typename Real>
inline Window<Real> route(const Window<Real>& value, VectorOf<Real> gradient, VectorOf<Real> floor) {
    typedef VectorOf<Real> V;
    typedef MaskOf<Real> M;
    V best = maximum<V>(maximum<V>(value.at[0], value.at[1]), maximum<V>(value.at[2], value.at[3]));
    M open = best > floor;
    Window<Real> routed;
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
        M here = open & (value.at[i] == best);
        routed.at[i] = here ? gradient : zero<V>();
        open &= ~here;
    }
    return routed;
}

// `weight` is (9, C): tap by tap.
template <typename Store>
void conv_relu_pool(const RealOf<Store>* x, Index clips, Index frequencies, Index frames, Index channels,
                    const RealOf<Store>* weight, const RealOf<Store>* bias, Map<Store> out, int threads) {
    typedef RealOf<Store> Real;
    typedef VectorOf<Real> V;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (Index n = 0; n < clips; ++n) {
        Padded<Real> image(x + n * frequencies * frames, frequencies, frames);
        for (Index f = 0; f < frequencies / 2; ++f)
            for (Index c = 0; c < channels; c += LANES<Real>) {
                V taps[9];
                for (int tap = 0; tap < 9; ++tap) taps[tap] = load(weight + tap * channels + c);
                V shift = load(bias + c);
                for (Index t = 0; t < frames / 2; ++t) {
                    Window<Real> value = convolve<Real>(image.under(2 * f, 2 * t), image.columns, taps);
                    V best = maximum<V>(maximum<V>(value.at[0], value.at[1]), maximum<V>(value.at[2], value.at[3]));
                    store(out.at(n, f, t) + c, maximum<V>(best + shift, zero<V>()));
                }
            }
    }
}

// `sums` (N, 10, C): of each clip the gradients of the nine taps and of the bias.
template <typename Store>
void conv_relu_pool_backward(const RealOf<Store>* x, Index clips, Index frequencies, Index frames, Index channels,
                             const RealOf<Store>* weight, const RealOf<Store>* bias, Map<const Store> gradient,
                             RealOf<Store>* sums, int threads) {
    typedef RealOf<Store> Real;
    typedef VectorOf<Real> V;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (Index n = 0; n < clips; ++n) {
        Padded<Real> image(x + n * frequencies * frames, frequencies, frames);
        for (Index c = 0; c < channels; c += LANES<Real>) {
            V taps[9], of_taps[9], of_bias = zero<V>();
            for (int tap = 0; tap < 9; ++tap) taps[tap] = load(weight + tap * channels + c), of_taps[tap] = zero<V>();
            V floor = -load(bias + c);
            for (Index f = 0; f < frequencies / 2; ++f)
                for (Index t = 0; t < frames / 2; ++t) {
                    const Real* under = image.under(2 * f, 2 * t);
                    Window<Real> value = convolve<Real>(under, image.columns, taps);
                    V given = load(gradient.at(n, f, t) + c);
                    Window<Real> routed = route<Real>(value, given, floor);
                    of_bias += (routed.at[0] + routed.at[1]) + (routed.at[2] + routed.at[3]);
#pragma GCC unroll 4
                    for (int i = 0; i < 4; ++i) {
                        const Real* corner = under + (i >> 1) * image.columns + (i & 1);
#pragma GCC unroll 9
                        for (int tap = 0; tap < 9; ++tap)
                            of_taps[tap] += routed.at[i] * corner[(tap / 3) * image.columns + tap % 3];
                    }
                }
            Real* own = sums + n * 10 * channels + c;
            for (int tap = 0; tap < 9; ++tap) store(own + tap * channels, of_taps[tap]);
            store(own + 9 * channels, of_bias);
        }
    }
}

// `moments` (N, 54): of each clip the sums of the nine pixels, and of their products (tap j with tap k >= j).
template <typename Real>
void patch_moments(const Real* x, Index clips, Index frequencies, Index frames, double* moments, int threads) {
    typedef VectorOf<Real> V;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (Index n = 0; n < clips; ++n) {
        Padded<Real> image(x + n * frequencies * frames, frequencies, frames);
        double* own = moments + n * 54;
        for (int i = 0; i < 54; ++i) own[i] = 0;
        Index whole = frames - frames % LANES<Real>;
        for (Index f = 0; f < frequencies; ++f) {
            double* entry = own;
            for (int j = 0; j < 9; ++j) {
                const Real* first = image.under(f + j / 3, j % 3);
                V sum = zero<V>();
                Real rest = 0;
                for (Index t = 0; t < whole; t += LANES<Real>) sum += load(first + t);
                for (Index t = whole; t < frames; ++t) rest += first[t];
                for (Index lane = 0; lane < LANES<Real>; ++lane) rest += sum[lane];
                *entry++ += rest;
            }
            for (int j = 0; j < 9; ++j)
                for (int k = j; k < 9; ++k) {
                    const Real *first = image.under(f + j / 3, j % 3), *second = image.under(f + k / 3, k % 3);
                    V sum = zero<V>();
                    Real rest = 0;
                    for (Index t = 0; t < whole; t += LANES<Real>) sum += load(first + t) * load(second + t);
                    for (Index t = whole; t < frames; ++t) rest += first[t] * second[t];
                    for (Index lane = 0; lane < LANES<Real>; ++lane) rest += sum[lane];
                    *entry++ += rest;
                }
        }
    }
}

// ---------------------------------------------------------------------------------------------------------------
// Later blocks: what stands between a convolution's map and the next product.
// ---------------------------------------------------------------------------------------------------------------

// `moments` (N, 2, C): of each clip the mean of each channel and the sum of squared deviations from it.
template <typename Store>
void channel_moments(Map<const Store> x, Index clips, Index height, Index width, Index channels,
                     RealOf<Store>* moments, int threads) {
    typedef RealOf<Store> Real;
    typedef VectorOf<Real> V;
    const Real count = Real(height * width);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (Index n = 0; n < clips; ++n)
        for (Index c = 0; c < channels; c += LANES<Real>) {
            // Relative to a value of the map, not of its padded edge: the mean may be many deviations from 0.
            V origin = load(x.at(n, height / 2, width / 2) + c), sum = zero<V>(), squares = zero<V>();
            for (Index h = 0; h < height; ++h) {
                V of_row = zero<V>(), squares_of_row = zero<V>();  // sums of sums lose fewer digits
                for (Index w = 0; w < width; ++w) {
                    V value = load(x.at(n, h, w) + c) - origin;
                    of_row += value;
                    squares_of_row += value * value;
                }
                sum += of_row;
                squares += squares_of_row;
            }
            V mean = sum / count;
            store(moments + (2 * n) * channels + c, origin + mean);
            store(moments + (2 * n + 1) * channels + c, maximum<V>(squares - sum * mean, zero<V>()));
        }
}

template <typename Store>
inline Window<RealOf<Store>> window_at(const Map<const Store>& x, Index n, Index h, Index w, Index c) {
    Window<RealOf<Store>> window;
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) window.at[i] = load(x.at(n, 2 * h + (i >> 1), 2 * w + (i & 1)) + c);
    return window;
}

template <typename Real>
inline Window<Real> affine(Window<Real> value, VectorOf<Real> scale) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) value.at[i] *= scale;
    return value;
}

template <typename Store>
void affine_relu_pool(Map<const Store> x, Index clips, Index height, Index width, Index channels,
                      const RealOf<Store>* scale, const RealOf<Store>* shift, Map<Store> out, int threads) {
    typedef RealOf<Store> Real;
    typedef VectorOf<Real> V;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (Index n = 0; n < clips; ++n)
        for (Index h = 0; h < height / 2; ++h)
            for (Index w = 0; w < width / 2; ++w)
                for (Index c = 0; c < channels; c += LANES<Real>) {
                    Window<Real> value = affine<Real>(window_at<Store>(x, n, h, w, c), load(scale + c));
                    V best = maximum<V>(maximum<V>(value.at[0], value.at[1]), maximum<V>(value.at[2], value.at[3]));
                    store(out.at(n, h, w) + c, maximum<V>(best + load(shift + c), zero<V>()));
                }
}

// `sums` (N, 2, C): of each clip sum(g) and sum(g x), g being where the maximum came from.
template <typename Store>
void affine_relu_pool_sums(Map<const Store> x, Index clips, Index height, Index width, Index channels,
                           const RealOf<Store>* scale, const RealOf<Store>* shift, Map<const Store> gradient,
                           RealOf<Store>* sums, int threads) {
    typedef RealOf<Store> Real;
    typedef VectorOf<Real> V;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (Index n = 0; n < clips; ++n)
        for (Index c = 0; c < channels; c += LANES<Real>) {
            V factor = load(scale + c), floor = -load(shift + c), total = zero<V>(), product = zero<V>();
            for (Index h = 0; h < height / 2; ++h)
                for (Index w = 0; w < width / 2; ++w) {
                    Window<Real> value = window_at<Store>(x, n, h, w, c);
                    V given = load(gradient.at(n, h, w) + c);
                    Window<Real> routed = route<Real>(affine<Real>(value, factor), given, floor);
#pragma GCC unroll 4
                    for (int i = 0; i < 4; ++i) {
                        total += routed.at[i];
                        product += routed.at[i] * value.at[i];
                    }
                }
            store(sums + (2 * n) * channels + c, total);
            store(sums + (2 * n + 1) * channels + c, product);
        }
}

template <typename Store>
void affine_relu_pool_backward(Map<const Store> x, Index clips, Index height, Index width, Index channels,
                               const RealOf<Store>* scale, const RealOf<Store>* shift, Map<const Store> gradient,
                               const RealOf<Store>* slope, const RealOf<Store>* offset, Map<Store> out, int threads) {
    typedef RealOf<Store> Real;
    typedef VectorOf<Real> V;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (Index n = 0; n < clips; ++n) {
        for (Index h = 0; h < height / 2; ++h)
            for (Index w = 0; w < width / 2; ++w)
                for (Index c = 0; c < channels; c += LANES<Real>) {
                    V factor = load(scale + c), steep = load(slope + c), constant = load(offset + c);
                    Window<Real> value = window_at<Store>(x, n, h, w, c);
                    V given = load(gradient.at(n, h, w) + c);
                    Window<Real> routed = route<Real>(affine<Real>(value, factor), given, -load(shift + c));
#pragma GCC unroll 4
                    for (int i = 0; i < 4; ++i)
                        store(out.at(n, 2 * h + (i >> 1), 2 * w + (i & 1)) + c,
                              factor * routed.at[i] + (steep * value.at[i] + constant));
                }
        // The last row and column of odd sizes are in no window, yet in the statistics.
        for (Index h = 0; h < height; ++h)
            for (Index w = h < height / 2 * 2 ? width / 2 * 2 : 0; w < width; ++w)
                for (Index c = 0; c < channels; c += LANES<Real>)
                    store(out.at(n, h, w) + c, load(slope + c) * load(x.at(n, h, w) + c) + load(offset + c));
    }
}

// ---------------------------------------------------------------------------------------------------------------
// The MLP on frames.
// ---------------------------------------------------------------------------------------------------------------

// A 32-bit mix in which every bit of the input changes half of those of the result (constants: C. Wellons' lowbias32).
inline Words mix(Words x) {
    x ^= x >> 16;
    x *= 0x7FEB352Du;
    x ^= x >> 15;
    x *= 0x846CA68Bu;
    return x ^ (x >> 16);
}

constexpr Index BLOCK = 1 << 14;  // elements a thread takes at once

template <typename Real>
struct Numbers;
template <>
struct Numbers<float> {
    typedef uint32_t Type __attribute__((vector_size(BYTES)));
};
template <>
struct Numbers<double> {
    typedef uint32_t Type __attribute__((vector_size(BYTES / 2)));
};
template <typename Real>
using NumbersOf = typename Numbers<Real>::Type;  // as many as there are lanes

// A function of the seed and of the position in blocks of 32: two 16-bit numbers out of each 32-bit word.
template <typename Store>
void relu_dropout(const Store* x, Index size, uint64_t seed, int dropped, Store* y, int threads) {
    typedef RealOf<Store> Real;
    typedef VectorOf<Real> V;
    typedef MaskOf<Real> M;
    const Real gain = Real(65536) / Real(65536 - dropped);
    const Words low = Words{} + uint32_t(seed), high = Words{} + uint32_t(seed >> 32);
    Words lane;
    for (Index i = 0; i < LANES<float>; ++i) lane[i] = uint32_t(i);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (Index start = 0; start < size; start += BLOCK) {
        Index end = start + BLOCK < size ? start + BLOCK : size;
        for (Index first = start; first < end; first += 32) {
            // 64 bits of position: beyond 2^36 elements the upper ones enter with the seed.
            Index group = first / 32;
            uint32_t number[32];
            for (Index i = 0; i < 16; i += LANES<float>) {
                Words counter = lane + uint32_t(group * 16 + i);
                Words random = mix(mix(counter ^ low) ^ (high + uint32_t(group >> 28)));
                Words lower = random & 0xFFFF, upper = random >> 16;
                std::memcpy(number + i, &lower, sizeof lower);
                std::memcpy(number + 16 + i, &upper, sizeof upper);
            }
            if (first + 32 <= end) {
#pragma GCC unroll 4
                for (Index i = 0; i < 32; i += LANES<Real>) {
                    M keep = __builtin_convertvector(load_as<NumbersOf<Real>>(number + i), M) >= dropped;
                    V value = load(x + first + i);
                    store(y + first + i, (keep & ~(value <= 0)) ? value * gain : zero<V>());  // NaN stays
                }
            } else {
                for (Index i = 0; first + i < end; ++i) {
                    Store padded[64 / sizeof(Store)] = {}, result[64 / sizeof(Store)];
                    padded[0] = x[first + i];
                    V value = load(padded);
                    bool keep = int(number[i]) >= dropped && !(value[0] <= 0);
                    store(result, keep ? value * gain : zero<V>());
                    y[first + i] = result[0];
                }
            }
        }
    }
}

// In place of a stored mask: what was dropped, or not above 0, is 0 in the output.
template <typename Store>
void relu_dropout_backward(const Store* gradient, const Store* y, Index size, int dropped, Store* out, int threads) {
    typedef RealOf<Store> Real;
    typedef VectorOf<Real> V;
    const Real gain = Real(65536) / Real(65536 - dropped);
    const Index whole = size - size % LANES<Real>;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (Index start = 0; start < whole; start += BLOCK) {
        Index end = start + BLOCK < whole ? start + BLOCK : whole;
        for (Index i = start; i < end; i += LANES<Real>)
            store(out + i, load(y + i) <= 0 ? zero<V>() : load(gradient + i) * gain);
    }
    for (Index i = whole; i < size; ++i) {
        Store padded[64 / sizeof(Store)] = {}, result[64 / sizeof(Store)];
        padded[0] = gradient[i];
        store(result, read(y + i) <= 0 ? zero<V>() : load(padded) * gain);
        out[i] = result[0];
    }
}

// (N, T, D) to `out` (N, D), whose rows are `stride` apart.
template <typename Store>
void relu_pool_time(const Store* x, Index clips, Index frames, Index features, RealOf<Store>* out, Index stride,
                    int threads) {
    typedef RealOf<Store> Real;
    typedef VectorOf<Real> V;
    const Real share = Real(1) / Real(frames);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (Index n = 0; n < clips; ++n)
        for (Index d = 0; d < features; d += LANES<Real>) {
            V best = zero<V>(), sum = zero<V>();
            for (Index t = 0; t < frames; ++t) {
                V value = maximum<V>(load(x + (n * frames + t) * features + d), zero<V>());
                best = maximum<V>(best, value);
                sum += value;
            }
            store(out + n * stride + d, best + sum * share);
        }
}

template <typename Store>
void relu_pool_time_backward(const Store* x, Index clips, Index frames, Index features,
                             const RealOf<Store>* gradient, Index stride, Store* out, int threads) {
    typedef RealOf<Store> Real;
    typedef VectorOf<Real> V;
    const Real share = Real(1) / Real(frames);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (Index n = 0; n < clips; ++n)
        for (Index d = 0; d < features; d += LANES<Real>) {
            const Store* column = x + n * frames * features + d;
            V best = zero<V>(), ties = zero<V>();
            for (Index t = 0; t < frames; ++t) best = maximum<V>(best, load(column + t * features));
            for (Index t = 0; t < frames; ++t) ties += load(column + t * features) == best ? zero<V>() + 1 : zero<V>();
            V given = load(gradient + n * stride + d), of_mean = given * share, of_maximum = of_mean + given / ties;
            for (Index t = 0; t < frames; ++t) {
                V value = load(column + t * features);
                V routed = value == best ? of_maximum : of_mean;
                store(out + (n * frames + t) * features + d, value > 0 ? routed : zero<V>());
            }
        }
}

// `sums` (blocks of `rows` rows, N) of a matrix (M, N): a bias's gradient, block by block.
template <typename Store>
void column_sums(const Store* x, Index m, Index n, Index rows, RealOf<Store>* sums, int threads) {
    typedef RealOf<Store> Real;
    typedef VectorOf<Real> V;
    const Index whole = n - n % LANES<Real>;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (Index first = 0; first < m; first += rows) {
        Real* own = sums + first / rows * n;
        for (Index i = 0; i < n; ++i) own[i] = 0;
        for (Index row = first; row < m && row < first + rows; ++row) {
            const Store* from = x + row * n;
            for (Index i = 0; i < whole; i += LANES<Real>) store(own + i, load(own + i) + load(from + i));
            for (Index i = whole; i < n; ++i) own[i] += read(from + i);
        }
    }
}

}  // namespace

// ---------------------------------------------------------------------------------------------------------------
// What Python calls: each kernel for each storage type.
// ---------------------------------------------------------------------------------------------------------------

#define KERNELS_FOR(Store, suffix)                                                                                    \
    void conv_relu_pool_##suffix(const RealOf<Store>* x, Index n, Index f, Index t, Index c,                          \
                                 const RealOf<Store>* weight, const RealOf<Store>* bias, Store* out, Index s0,        \
                                 Index s1, Index s2, int threads) {                                                   \
        conv_relu_pool<Store>(x, n, f, t, c, weight, bias, {out, s0, s1, s2}, threads);                               \
    }                                                                                                                 \
    void conv_relu_pool_backward_##suffix(const RealOf<Store>* x, Index n, Index f, Index t, Index c,                 \
                                          const RealOf<Store>* weight, const RealOf<Store>* bias,                     \
                                          const Store* gradient, Index s0, Index s1, Index s2, RealOf<Store>* sums,   \
                                          int threads) {                                                              \
        conv_relu_pool_backward<Store>(x, n, f, t, c, weight, bias, {gradient, s0, s1, s2}, sums, threads);           \
    }                                                                                                                 \
    void channel_moments_##suffix(const Store* x, Index s0, Index s1, Index s2, Index n, Index h, Index w, Index c,   \
                                  RealOf<Store>* moments, int threads) {                                              \
        channel_moments<Store>({x, s0, s1, s2}, n, h, w, c, moments, threads);                                        \
    }                                                                                                                 \
    void affine_relu_pool_##suffix(const Store* x, Index s0, Index s1, Index s2, Index n, Index h, Index w, Index c,  \
                                   const RealOf<Store>* scale, const RealOf<Store>* shift, Store* out, Index o0,      \
                                   Index o1, Index o2, int threads) {                                                 \
        affine_relu_pool<Store>({x, s0, s1, s2}, n, h, w, c, scale, shift, {out, o0, o1, o2}, threads);               \
    }                                                                                                                 \
    void affine_relu_pool_sums_##suffix(const Store* x, Index s0, Index s1, Index s2, Index n, Index h, Index w,      \
                                        Index c, const RealOf<Store>* scale, const RealOf<Store>* shift,              \
                                        const Store* gradient, Index g0, Index g1, Index g2, RealOf<Store>* sums,     \
                                        int threads) {                                                                \
        affine_relu_pool_sums<Store>({x, s0, s1, s2}, n, h, w, c, scale, shift, {gradient, g0, g1, g2}, sums,         \
                                     threads);                                                                        \
    }                                                                                                                 \
    void affine_relu_pool_backward_##suffix(const Store* x, Index s0, Index s1, Index s2, Index n, Index h, Index w,  \
                                            Index c, const RealOf<Store>* scale, const RealOf<Store>* shift,          \
                                            const Store* gradient, Index g0, Index g1, Index g2,                      \
                                            const RealOf<Store>* slope, const RealOf<Store>* offset, Store* out,      \
                                            Index o0, Index o1, Index o2, int threads) {                              \
        affine_relu_pool_backward<Store>({x, s0, s1, s2}, n, h, w, c, scale, shift, {gradient, g0, g1, g2}, slope,    \
                                         offset, {out, o0, o1, o2}, threads);                                         \
    }                                                                                                                 \
    void column_sums_##suffix(const Store* x, Index m, Index n, Index rows, RealOf<Store>* sums, int threads) {        \
        column_sums<Store>(x, m, n, rows, sums, threads);                                                              \
    }                                                                                                                 \
    void relu_dropout_##suffix(const Store* x, Index size, uint64_t seed, int dropped, Store* y, int threads) {       \
        relu_dropout<Store>(x, size, seed, dropped, y, threads);                                                      \
    }                                                                                                                 \
    void relu_dropout_backward_##suffix(const Store* gradient, const Store* y, Index size, int dropped, Store* out,   \
                                        int threads) {                                                                \
        relu_dropout_backward<Store>(gradient, y, size, dropped, out, threads);                                       \
    }                                                                                                                 \
    void relu_pool_time_##suffix(const Store* x, Index n, Index t, Index d, RealOf<Store>* out, Index stride,         \
                                 int threads) {                                                                       \
        relu_pool_time<Store>(x, n, t, d, out, stride, threads);                                                      \
    }                                                                                                                 \
    void relu_pool_time_backward_##suffix(const Store* x, Index n, Index t, Index d, const RealOf<Store>* gradient,   \
                                          Index stride, Store* out, int threads) {                                    \
        relu_pool_time_backward<Store>(x, n, t, d, gradient, stride, out, threads);                                   \
    }

extern "C" {
KERNELS_FOR(float, float32)
KERNELS_FOR(double, float64)
KERNELS_FOR(BFloat16, bfloat16)
void patch_moments_float32(const float* x, Index n, Index f, Index t, double* moments, int threads) {
    patch_moments<float>(x, n, f, t, moments, threads);
}
void patch_moments_float64(const double* x, Index n, Index f, Index t, double* moments, int threads) {
    patch_moments<double>(x, n, f, t, moments, threads);
}
}
