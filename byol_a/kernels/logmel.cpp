// From waves to log-mel spectrograms in one pass: frames, window, Fourier transform, power, mel sums, logarithm.
//
// A vector holds the same number of as many frames as it has lanes (16 with AVX-512): the transform has no shuffles but
// those that bring the samples there, all tables are read as single numbers, and the mel bins come out as they are
// wanted, frames side by side. A frame's result depends neither on its neighbours nor on the number of threads.
//
// The transform of N real samples is that of N/2 complex ones, z[n] = x[2n] + i x[2n+1], taken apart afterwards. It is
// decimated in frequency, in place and depth first: after one stage over all of it, each part stays in the first cache.

#include <algorithm>

#include "vectors.h"

namespace {

template <typename Real>
struct Point {  // a complex number of each frame
    VectorOf<Real> re, im;
    Point operator+(const Point& other) const { return {re + other.re, im + other.im}; }
    Point operator-(const Point& other) const { return {re - other.re, im - other.im}; }
    Point operator*(Real factor) const { return {re * factor, im * factor}; }
    Point times(const Real* factor) const {
        return {re * factor[0] - im * factor[1], re * factor[1] + im * factor[0]};
    }
    Point times_minus_i() const { return {im, -re}; }
};

// The discrete Fourier transform of 2, 4 or 8 points, in place.
template <int R, typename Real>
struct Butterfly;
template <typename Real>
struct Butterfly<2, Real> {
    static inline void on(Point<Real>* u) {
        Point<Real> first = u[0];
        u[0] = first + u[1];
        u[1] = first - u[1];
    }
};
template <typename Real>
struct Butterfly<4, Real> {
    static inline void on(Point<Real>* u) {
        Point<Real> a = u[0] + u[2], b = u[0] - u[2], c = u[1] + u[3], d = (u[1] - u[3]).times_minus_i();
        u[0] = a + c;
        u[1] = b + d;
        u[2] = a - c;
        u[3] = b - d;
    }
};
template <typename Real>
struct Butterfly<8, Real> {
    static inline void on(Point<Real>* u) {
        const Real half = Real(0.70710678118654752440);
        Point<Real> even[4], odd[4];
        for (int k = 0; k < 4; ++k) even[k] = u[k] + u[k + 4], odd[k] = u[k] - u[k + 4];
        odd[1] = Point<Real>{odd[1].re + odd[1].im, odd[1].im - odd[1].re} * half;
        odd[2] = odd[2].times_minus_i();
        odd[3] = Point<Real>{odd[3].im - odd[3].re, -odd[3].re - odd[3].im} * half;
        Butterfly<4, Real>::on(even);
        Butterfly<4, Real>::on(odd);
        for (int k = 0; k < 4; ++k) u[2 * k] = even[k], u[2 * k + 1] = odd[k];
    }
};

// One stage's group of R points, `apart` points apart; frequency k of the group is turned by factor k.
template <int R, typename Real>
inline void finish(Point<Real>* u, const Real* factors, Point<Real>* to, Index apart) {
    Butterfly<R, Real>::on(u);
    to[0] = u[0];
#pragma GCC unroll 8
    for (int k = 1; k < R; ++k) to[k * apart] = apart == 1 ? u[k] : u[k].times(factors + 2 * (k - 1));
}

template <int R, typename Real>
inline void stage(Point<Real>* x, Index apart, const Real* factors) {
    for (Index j = 0; j < apart; ++j) {
        Point<Real> u[R];
#pragma GCC unroll 8
        for (int k = 0; k < R; ++k) u[k] = x[j + k * apart];
        finish<R, Real>(u, factors + 2 * (R - 1) * j, x + j, apart);
    }
}

// `radices`: of the stages, whose product is `n`; `factors`: (n / radix, radix - 1, 2) of each.
template <typename Real>
void transform(Point<Real>* x, Index n, const Index* radices, const Real* factors) {
    const Index radix = *radices, apart = n / radix;
    if (radix == 8) stage<8, Real>(x, apart, factors);
    else if (radix == 4) stage<4, Real>(x, apart, factors);
    else stage<2, Real>(x, apart, factors);
    if (apart > 1)
        for (Index k = 0; k < radix; ++k)
            transform(x + k * apart, apart, radices + 1, factors + 2 * (radix - 1) * apart);
}

// The first stage, of radix 8, straight from the samples: blocks of them are windowed and turned over.
template <typename Real>
void first_stage(const Real* const* frame, const Real* window, Index n, const Real* factors, Point<Real>* x) {
    constexpr Index N = LANES<Real>;
    const Index apart = n / 8;
    for (Index j = 0; j < apart; j += N / 2) {
        VectorOf<Real> samples[8][N];
        for (int k = 0; k < 8; ++k) {
            const Index start = 2 * (j + k * apart);
            VectorOf<Real> shape = load(window + start);
#pragma GCC unroll 16
            for (Index lane = 0; lane < N; ++lane) samples[k][lane] = load(frame[lane] + start) * shape;
            transpose<Real>(samples[k]);
        }
        for (Index i = 0; i < N / 2; ++i) {
            Point<Real> u[8];
#pragma GCC unroll 8
            for (int k = 0; k < 8; ++k) u[k] = {samples[k][2 * i], samples[k][2 * i + 1]};
            finish<8, Real>(u, factors + 14 * (j + i), x + j + i, apart);
        }
    }
}

// Of the transform z of n complex points, each halved, to the power of the n + 1 frequencies of 2n real ones:
// X[k] = E + w^k O and X[n - k] = conj(E - w^k O), with E = z[k] + conj z[n - k] and O = (z[k] - conj z[n - k]) / i.
template <typename Real>
void powers(const Point<Real>* z, Index n, const Index* place, const Real* roots, VectorOf<Real>* power) {
    for (Index k = 0; k <= n / 2; ++k) {
        Point<Real> a = z[place[k]], b = z[place[k ? n - k : 0]];
        Point<Real> even = {a.re + b.re, a.im - b.im};
        Point<Real> odd = Point<Real>{a.im + b.im, b.re - a.re}.times(roots + 2 * k);
        Point<Real> sum = even + odd, difference = even - odd;
        power[k] = sum.re * sum.re + sum.im * sum.im;
        power[n - k] = difference.re * difference.re + difference.im * difference.im;
    }
}

// What the kernel reads of a front-end; laid out by byol_a/kernels/spectrum.py.
template <typename Real>
struct Tables {
    Index size;           // samples of a frame, a power of two
    const Real* window;   // (size,), halved
    const Index* radices;
    const Real* factors;
    const Index* place;   // (size / 2,) where a frequency stands after the transform
    const Real* roots;    // (size / 4 + 1, 2): exp(-2 pi i k / size)
    Index mels;
    const Index* rows;    // (mels + 1,): where the entries of each mel bin begin
    const Index* bins;    // of each entry
    const Real* weights;  // of each entry
};

// Waves (clips, `samples`), rows `stride` apart, taken as `extended` samples (zeros at the end) with `padding` more on
// both sides, mirrored or zeros; to `out` (clips, mels, frames).
template <typename Real>
void log_mel(const Real* wave, Index clips, Index stride, Index samples, Index extended, Index padding, Index mirror,
             Index frames, Index hop, Real eps, const Tables<Real>& tables, Real* out, int threads) {
    typedef VectorOf<Real> V;
    constexpr Index N = LANES<Real>;
    const Index size = tables.size, n = size / 2, mels = tables.mels, all = clips * frames;
#pragma omp parallel num_threads(threads)
    {
        Room<Real> edges(N * size), points(2 * N * n), spectrum(N * (n + 1)), result(N * mels);
        Point<Real>* x = reinterpret_cast<Point<Real>*>((Real*)points);
        V* power = reinterpret_cast<V*>((Real*)spectrum);
#pragma omp for schedule(static)
        for (Index group = 0; group < all; group += N) {
            const Index count = std::min(N, all - group);
            const Real* frame[N];
            for (Index lane = 0; lane < N; ++lane) {
                const Index number = group + std::min(lane, count - 1), start = number % frames * hop - padding;
                const Real* clip = wave + number / frames * stride;
                if (start >= 0 && start + size <= samples) {
                    frame[lane] = clip + start;
                    continue;
                }
                Real* edge = edges + lane * size;
                const Index first = std::clamp(-start, Index(0), size), last = std::clamp(samples - start, first, size);
                auto fill = [&](Index from, Index to) {
                    for (Index i = from; i < to; ++i) {
                        const Index at = !mirror ? -1 : i < first ? -(start + i) : 2 * (extended - 1) - (start + i);
                        edge[i] = at >= 0 && at < samples ? clip[at] : Real(0);
                    }
                };
                fill(0, first);
                std::copy(clip + (start + first), clip + (start + last), edge + first);
                fill(last, size);
                frame[lane] = edge;
            }
            first_stage<Real>(frame, tables.window, n, tables.factors, x);
            for (Index k = 0; k < 8; ++k)
                transform<Real>(x + k * (n / 8), n / 8, tables.radices + 1, tables.factors + 14 * (n / 8));
            powers<Real>(x, n, tables.place, tables.roots, power);
            for (Index mel = 0; mel < mels; ++mel) {
                V even = V{}, odd = V{};
                Index entry = tables.rows[mel];
                const Index end = tables.rows[mel + 1];
                for (; entry + 2 <= end; entry += 2) {
                    even += tables.weights[entry] * power[tables.bins[entry]];
                    odd += tables.weights[entry + 1] * power[tables.bins[entry + 1]];
                }
                if (entry < end) even += tables.weights[entry] * power[tables.bins[entry]];
                store(result + mel * N, logarithm(even + odd + eps));
            }
            // The frames of a group may belong to several clips.
            for (Index lane = 0; lane < count;) {
                const Index clip = (group + lane) / frames, first = (group + lane) % frames;
                const Index together = std::min(count - lane, frames - first);
                Real* to = out + clip * mels * frames + first;
                if (together == N)
                    for (Index mel = 0; mel < mels; ++mel) store(to + mel * frames, load(result + mel * N));
                else
                    for (Index mel = 0; mel < mels; ++mel)
                        std::memcpy(to + mel * frames, result + mel * N + lane, sizeof(Real) * together);
                lane += together;
            }
        }
    }
}

}  // namespace

#define LOG_MEL_FOR(Real, suffix)                                                                                    \
    void log_mel_##suffix(const Real* wave, Index clips, Index stride, Index samples, Index extended, Index padding, \
                          Index mirror, Index frames, Index hop, double eps, Index size, const Real* window,         \
                          const Index* radices, const Real* factors, const Index* place, const Real* roots,          \
                          Index mels, const Index* rows, const Index* bins, const Real* weights, Real* out,          \
                          int threads) {                                                                             \
        log_mel<Real>(wave, clips, stride, samples, extended, padding, mirror, frames, hop, Real(eps),               \
                      {size, window, radices, factors, place, roots, mels, rows, bins, weights}, out, threads);      \
    }

extern "C" {
LOG_MEL_FOR(float, float32)
LOG_MEL_FOR(double, float64)
}
