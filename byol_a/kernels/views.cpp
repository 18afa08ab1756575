// A view of each clip in one pass that stays in the cache: log-mixup-exp with a remembered clip, random resize crop,
// linear fader, and the moments that post-norm is made of.
//
// The crop is four taps in each direction (see byol_a/augment/resize_crop.py), taken of the part of the canvas that is
// the input; only that part is mixed. Both directions run along vectors: over rows while time is resized, for which the
// picture is turned over, and over time while frequency is.

#include <algorithm>
#include <vector>

#include "vectors.h"

namespace {

constexpr float EPS = 1.1920928955078125e-07f;  // float32's, whatever the type, as in byol_a/augment/mixup.py

template <typename Real>
inline Index whole_vectors(Index count) {
    return (count + LANES<Real> - 1) / LANES<Real> * LANES<Real>;
}

// Where each of `outputs` positions of a resized span looks: at four places with a weight each, from `first` to `last`
// (exclusive), the part of the span [start, start + size) that is within [0, inputs). Corners are aligned.
template <typename Real>
class Taps {
public:
    Index first = 0, last = 0;

    explicit Taps(Index outputs)
        : outputs_(outputs), stride_(whole_vectors<Real>(outputs)), whole_(stride_), places_(4 * stride_),
          fraction_(stride_), weights_(4 * stride_) {}

    void aim(Index start, Index size, Index inputs) {
        typedef VectorOf<Real> V;
        first = std::clamp(start, Index(0), inputs);
        last = std::clamp(start + size, first, inputs);
        if (first == last) return;
        // Output o looks at o (size - 1) / (outputs - 1), in integers.
        const Index steps = std::max(outputs_ - 1, Index(1));
        Index whole = 0, rest = 0;
        for (Index o = 0; o < outputs_; ++o) {
            whole_[o] = whole;
            fraction_[o] = Real(rest) / Real(steps);
            for (rest += size - 1; rest >= steps; rest -= steps) ++whole;
        }
        for (Index o = 0; o < outputs_; o += LANES<Real>) {
            V fraction = load(fraction_ + o);
            store(weights_ + o, far(1 + fraction));
            store(weights_ + stride_ + o, near(fraction));
            store(weights_ + 2 * stride_ + o, near(1 - fraction));
            store(weights_ + 3 * stride_ + o, far(2 - fraction));
        }
        for (Index tap = 0; tap < 4; ++tap) {
            Real* weights = weights_ + tap * stride_;
            for (Index o = 0; o < outputs_; ++o) {
                // Beyond the span stands its edge, beyond the input 0.
                Index place = start + std::clamp(Index(whole_[o]) + tap - 1, Index(0), size - 1);
                weights[o] = place < 0 || place >= inputs ? Real(0) : weights[o];
                places_[tap * stride_ + o] = std::clamp(place, first, last - 1) - first;
            }
        }
    }

    Index place(Index tap, Index o) const { return places_[tap * stride_ + o]; }  // from `first` on
    Real weight(Index tap, Index o) const { return weights_[tap * stride_ + o]; }

private:
    // The cubic kernel (Keys 1981) with a = -0.75, up to a distance of 1 and from there to 2.
    static VectorOf<Real> near(VectorOf<Real> d) { return (Real(1.25) * d - Real(2.25)) * d * d + 1; }
    static VectorOf<Real> far(VectorOf<Real> d) {
        return ((Real(-0.75) * d + Real(3.75)) * d - Real(6)) * d + Real(3);
    }

    Index outputs_, stride_;
    std::vector<int32_t> whole_, places_;
    Room<Real> fraction_, weights_;
};

// What is cropped: a clip (F, T), or log((1 - a) own + a e^partner + eps) where there is a partner; `own` is then e^x.
template <typename Real>
struct Source {
    const Real *own, *partner;
    Real ratio;
    Index frames;  // T
    // Up to a vector of frames from (f, t) on.
    VectorOf<Real> at(Index f, Index t) const {
        const Index count = frames - t, offset = f * frames + t;
        VectorOf<Real> mine = load_first(own + offset, count);
        if (!partner) return mine;
        VectorOf<Real> theirs = exponential(load_first(partner + offset, count));
        return logarithm((1 - ratio) * mine + ratio * theirs + Real(EPS));
    }
};

// One output (F, T) and its moments; a thread's own memory.
template <typename Real>
class Painter {
    typedef VectorOf<Real> V;
    static constexpr Index N = LANES<Real>;
    typedef WideOf<Real> Wide;

public:
    Painter(Index bins, Index frames)
        : bins_(bins), frames_(frames), rows_(whole_vectors<Real>(bins)), columns_(whole_vectors<Real>(frames)),
          frequency_(bins), time_(frames), turned_((columns_ + N) * rows_), resized_(rows_ * columns_),
          ramp_(columns_) {}

    // `crop`: top, left, height, width, counted from the input's corner; null for none. `fade`: what is added to the
    // first and to the last frame; null for none. `moments`: count, mean, sum of squared deviations.
    void paint(const Source<Real>& source, const Index* crop, const Real* fade, Real* out, double* moments) {
        const Real steps = Real(std::max(frames_ - 1, Index(1)));
        for (Index t = 0; t < frames_; ++t)
            ramp_[t] = fade ? fade[0] + (fade[1] - fade[0]) * (Real(t) / steps) : Real(0);
        if (crop) {
            frequency_.aim(crop[0], crop[2], bins_);
            time_.aim(crop[1], crop[3], frames_);
            if (frequency_.first < frequency_.last && time_.first < time_.last) resize(source);
        }
        Wide total = {};
        for (Index f = 0; f < bins_; ++f) {
            V sum = {};
            for (Index t = 0; t < frames_; t += N) {
                V value = (crop ? resized(f, t) : source.at(f, t)) + load(ramp_ + t);
                store_first(out + f * frames_ + t, value, frames_ - t);
                sum += only(value, frames_ - t);
            }
            total += __builtin_convertvector(sum, Wide);
        }
        const double count = double(bins_ * frames_), mean = sum_of(total) / count;
        const Real centre = Real(mean);
        Wide squares = {};
        for (Index f = 0; f < bins_; ++f) {
            V sum = {};
            for (Index t = 0; t < frames_; t += N) {
                V deviation = only(load_first(out + f * frames_ + t, frames_ - t) - centre, frames_ - t);
                sum += deviation * deviation;
            }
            squares += __builtin_convertvector(sum, Wide);
        }
        moments[0] = count;
        moments[1] = mean;
        moments[2] = std::max(0.0, sum_of(squares) - count * (mean - centre) * (mean - centre));
    }

private:
    // Every row that is looked at, resized along time, into `resized_` (rows, columns).
    void resize(const Source<Real>& source) {
        const Index height = frequency_.last - frequency_.first, width = time_.last - time_.first;
        const Index rows = whole_vectors<Real>(height);
        V block[N];
        for (Index f = 0; f < rows; f += N)
            for (Index t = 0; t < width; t += N) {
                for (Index i = 0; i < N; ++i)
                    block[i] = f + i < height ? source.at(frequency_.first + f + i, time_.first + t) : V{};
                transpose<Real>(block);
                for (Index i = 0; i < N; ++i) store(turned_ + (t + i) * rows + f, block[i]);
            }
        for (Index f = 0; f < rows; f += N)
            for (Index t = 0; t < frames_; t += N) {
                for (Index i = 0; i < N; ++i) {
                    if (t + i >= frames_) {
                        block[i] = V{};
                        continue;
                    }
                    V sum = {};
#pragma GCC unroll 4
                    for (Index tap = 0; tap < 4; ++tap)
                        sum += time_.weight(tap, t + i) * load(turned_ + time_.place(tap, t + i) * rows + f);
                    block[i] = sum;
                }
                transpose<Real>(block);
                for (Index i = 0; i < N; ++i) store(resized_ + (f + i) * columns_ + t, block[i]);
            }
    }

    // The crop's values at (f, t...).
    V resized(Index f, Index t) const {
        V sum = {};
        if (frequency_.first == frequency_.last || time_.first == time_.last) return sum;  // of the margins alone
#pragma GCC unroll 4
        for (Index tap = 0; tap < 4; ++tap)
            sum += frequency_.weight(tap, f) * load(resized_ + frequency_.place(tap, f) * columns_ + t);
        return sum;
    }

    static V only(V value, Index count) {
        if (count >= N) return value;
        for (Index lane = count; lane < N; ++lane) value[lane] = 0;
        return value;
    }

    static double sum_of(const Wide& value) {
        double sum = 0;
        for (Index lane = 0; lane < N; ++lane) sum += value[lane];
        return sum;
    }

    Index bins_, frames_, rows_, columns_;
    Taps<Real> frequency_, time_;
    Room<Real> turned_, resized_, ramp_;
};

// Clips x (B, F, T), of each view `view` apart, to out (V, B, F, T) and moments (V, B, 3). `memory` (M, F, T) with
// slots and ratios (V, B), crops (V, B, 4) and fades (V, B, 2) may each be null.
template <typename Real>
void make_views(const Real* x, Index view, const Real* memory, const Index* slots, const Real* ratios,
                const Index* crops, const Real* fades, Index views, Index clips, Index bins, Index frames, Real* out,
                double* moments, int threads) {
    const Index size = bins * frames;
#pragma omp parallel num_threads(threads)
    {
        Painter<Real> painter(bins, frames);
        Room<Real> energy(memory ? size : 0);
#pragma omp for schedule(static)
        for (Index n = 0; n < clips; ++n)
            for (Index v = 0; v < views; ++v) {
                const Index one = v * clips + n;
                Source<Real> source = {x + v * view + n * size, nullptr, Real(0), frames};
                if (memory) {
                    if (v == 0 || view)
                        for (Index i = 0; i < size; i += LANES<Real>)
                            store(energy + i, exponential(load_first(source.own + i, size - i)));
                    source = {energy, memory + slots[one] * size, ratios[one], frames};
                }
                painter.paint(source, crops ? crops + 4 * one : nullptr, fades ? fades + 2 * one : nullptr,
                              out + one * size, moments + 3 * one);
            }
    }
}

// (x - mean) / deviation, in place.
template <typename Real>
void standardize(Real* x, Index size, Real mean, Real deviation, int threads) {
    constexpr Index BLOCK = 1 << 14;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (Index start = 0; start < size; start += BLOCK)
        for (Index i = start, end = std::min(size, start + BLOCK); i < end; i += LANES<Real>)
            store_first(x + i, (load_first(x + i, end - i) - mean) / deviation, end - i);
}

}  // namespace

#define VIEWS_FOR(Real, suffix)                                                                                    \
    void make_views_##suffix(const Real* x, Index view, const Real* memory, const Index* slots, const Real* ratios, \
                             const Index* crops, const Real* fades, Index views, Index clips, Index bins,          \
                             Index frames, Real* out, double* moments, int threads) {                              \
        make_views<Real>(x, view, memory, slots, ratios, crops, fades, views, clips, bins, frames, out, moments,   \
                         threads);                                                                                 \
    }                                                                                                              \
    void standardize_##suffix(Real* x, Index size, double mean, double deviation, int threads) {                   \
        standardize<Real>(x, size, Real(mean), Real(deviation), threads);                                          \
    }

extern "C" {
VIEWS_FOR(float, float32)
VIEWS_FOR(double, float64)
}
