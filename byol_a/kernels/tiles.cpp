// Products of float32 matrices on a processor's bfloat16 matrix unit (Intel AMX), for networks in evaluation.
//
// A float32 is the sum of three bfloat16 numbers, exactly but for its last bit: x = x0 + x1 + x2, each the rest of the
// one before, rounded. Of the nine products of two such sums the six with p + q < 3 are taken, all added up in float32;
// what is left out is below float32's own rounding. With one part, rather than three, this is the usual bfloat16
// product. Six products on the matrix unit take less than one on the vector units.
//
// Each function but the packing of weights runs in one thread: the caller has one for each core.

#include <cstdint>

using Index = int64_t;

#if defined(__linux__) && defined(__AMX_BF16__) && defined(__AVX512BF16__) && defined(__AVX512DQ__)

#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>

namespace {

constexpr Index SIDE = 32;                 // rows and columns of what is computed at once: 2 x 2 tiles
constexpr Index TILE = 16 * 32;            // bfloat16 numbers in a tile: 16 rows of 64 bytes
// A block of the left matrix is split at once and stays in the second-level cache; of one part a number, a slice of what
// it is multiplied with stays in the first.
constexpr Index ROWS = 256;
template <int PARTS>
constexpr Index DEPTH = PARTS == 1 ? 1024 : 512;
template <int PARTS>
constexpr Index SLICE = PARTS == 1 ? 256 : 512;

struct Scratch {  // kept by each thread for its next call
    void* data = nullptr;
    size_t size = 0;
    ~Scratch() { std::free(data); }
    template <typename T>
    T* room(Index count) {
        size_t wanted = (count * sizeof(T) + 63) / 64 * 64;
        if (wanted > size) {
            std::free(data);
            data = std::aligned_alloc(64, wanted);
            size = data ? wanted : 0;
        }
        return static_cast<T*>(data);
    }
};

// The instruction gives its second operand where either is NaN; NaN is to stay.
inline __m512 larger(__m512 a, __m512 b) {
    return _mm512_mask_mov_ps(_mm512_max_ps(a, b), _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q), a);
}

// The compiler is not told by the tile instructions that they read memory: what they will read is done before here.
inline void written(const void* data) { asm volatile("" ::"r"(data) : "memory"); }

void configure() {
    struct {
        uint8_t palette = 1, start = 0, reserved[14] = {};
        uint16_t bytes[16] = {};
        uint8_t rows[16] = {};
    } layout;
    for (int tile = 0; tile < 8; ++tile) layout.bytes[tile] = 64, layout.rows[tile] = 16;
    written(&layout);
    _tile_loadconfig(&layout);
}

inline __m512 widened(__m256i half) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16)); }

// 32 numbers into their parts, which lie `plane` apart.
template <int PARTS>
inline void split(const float* x, uint16_t* out, Index plane) {
    __m512 low = _mm512_loadu_ps(x), high = _mm512_loadu_ps(x + 16);
    for (int part = 0; part < PARTS; ++part) {
        __m512i rounded = (__m512i)_mm512_cvtne2ps_pbh(high, low);
        _mm512_storeu_si512(out + part * plane, rounded);
        if (part + 1 < PARTS) {
            low = _mm512_sub_ps(low, widened(_mm512_castsi512_si256(rounded)));
            high = _mm512_sub_ps(high, widened(_mm512_extracti64x4_epi64(rounded, 1)));
        }
    }
}

// What 32 x 32 results (tiles 0 to 3) gain by 32 more columns of the left and rows of the right matrix.
template <int PARTS>
inline void multiply(const uint16_t* upper, const uint16_t* lower, Index plane, Index row, const uint16_t* right) {
    auto take_left = [&](int part) __attribute__((always_inline)) {
        _tile_loadd(4, upper + part * plane, row * 2);
        _tile_loadd(5, lower + part * plane, row * 2);
    };
    auto take_right = [&](int part) __attribute__((always_inline)) {
        _tile_loadd(6, right + part * 2 * TILE, 64);
        _tile_loadd(7, right + part * 2 * TILE + TILE, 64);
    };
    auto add = [&]() __attribute__((always_inline)) {
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    };
    take_right(0);
    if constexpr (PARTS == 3) {  // in an order in which only one of the two changes
        take_left(2), add();
        take_left(1), add();
        take_right(1), add();
        take_left(0), add();
        take_right(2), add();
        take_right(0), add();
    } else {
        take_left(0), add();
    }
}

inline void clear() {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
}

inline void load_results(const float* from, Index row) {
    written(from);
    _tile_loadd(0, from, row * 4);
    _tile_loadd(1, from + 16, row * 4);
    _tile_loadd(2, from + 16 * row, row * 4);
    _tile_loadd(3, from + 16 * row + 16, row * 4);
}

inline void store_results(float* to, Index row) {
    _tile_stored(0, to, row * 4);
    _tile_stored(1, to + 16, row * 4);
    _tile_stored(2, to + 16 * row, row * 4);
    _tile_stored(3, to + 16 * row + 16, row * 4);
}

template <int PARTS>
void pack(const float* weight, Index outputs, Index inputs, uint16_t* out, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (Index n = 0; n < outputs; n += SIDE) {
        alignas(64) uint16_t parts[SIDE][PARTS][32];
        for (Index k = 0; k < inputs; k += 32) {
            for (Index i = 0; i < SIDE; ++i) split<PARTS>(weight + (n + i) * inputs + k, parts[i][0], 32);
            uint32_t* to = reinterpret_cast<uint32_t*>(out + (n * (inputs / 32) + k) * 32 * PARTS);
            for (int part = 0; part < PARTS; ++part)
                for (int half = 0; half < 2; ++half)
                    for (int pair = 0; pair < 16; ++pair)
                        for (int i = 0; i < 16; ++i)
                            std::memcpy(to++, &parts[16 * half + i][part][2 * pair], 4);
        }
    }
}

// relu(x w^T + bias) of at most ROWS rows, which are split into parts in `left`, a block at a time.
template <int PARTS>
void linear_relu(const float* x, Index rows, Index inputs, const uint16_t* weight, const float* bias, Index outputs,
                 uint16_t* left, float* out) {
    constexpr Index depth = DEPTH<PARTS>, step = SLICE<PARTS>;
    const __m512 zero = _mm512_setzero_ps();  // on the left of a maximum, so that NaN on the right stays
    alignas(64) float sums[ROWS * SIDE];
    for (Index k0 = 0; k0 < inputs; k0 += depth) {
        const Index deep = std::min(depth, inputs - k0);
        const bool first = k0 == 0, last = k0 + deep == inputs;
        for (Index m = 0; m < rows; m += SIDE)
            for (Index k = 0; k < deep; k += 32)
                for (Index i = 0; i < SIDE; ++i) {
                    uint16_t* to = left + (m * depth + k * SIDE) * PARTS + i * 32;
                    if (m + i < rows)
                        split<PARTS>(x + (m + i) * inputs + k0 + k, to, 2 * TILE);
                    else
                        for (int part = 0; part < PARTS; ++part) std::memset(to + part * 2 * TILE, 0, 64);
                }
        written(left);
        // While a panel of the weights is multiplied with all rows, the next one is fetched from afar, bit by bit.
        const Index lines = (32 * PARTS * SIDE + rows - 1) / rows;
        for (Index n = 0; n < outputs; n += SIDE) {
            const uint16_t* right = weight + (n * (inputs / 32) + k0) * 32 * PARTS;
            const char* next = reinterpret_cast<const char*>(weight + ((n + SIDE) * (inputs / 32) + k0) * 32 * PARTS);
            for (Index slice = 0; slice < deep; slice += step)
                for (Index m = 0; m < rows; m += SIDE) {
                    const uint16_t* block = left + m * depth * PARTS;
                    const Index count = std::min(SIDE, rows - m);
                    float *place = out + m * outputs + n, *own = sums + m * SIDE;
                    if (slice) {
                        load_results(own, SIDE);
                    } else if (first) {
                        clear();
                    } else {
                        for (Index i = 0; i < count; ++i) std::memcpy(own + i * SIDE, place + i * outputs, 4 * SIDE);
                        load_results(own, SIDE);
                    }
                    for (Index k = slice; k < std::min(slice + step, deep); k += 32, next += 64 * lines) {
                        for (Index line = 0; line < lines; ++line) _mm_prefetch(next + 64 * line, _MM_HINT_T1);
                        multiply<PARTS>(block + k * SIDE * PARTS, block + k * SIDE * PARTS + TILE, 2 * TILE, 32,
                                        right + k * 32 * PARTS);
                    }
                    store_results(own, SIDE);
                    if (slice + step < deep) continue;
                    for (Index i = 0; i < count; ++i)
                        for (Index j = 0; j < SIDE; j += 16) {
                            __m512 value = _mm512_load_ps(own + i * SIDE + j);
                            if (last) value = _mm512_max_ps(zero, _mm512_add_ps(value, _mm512_loadu_ps(bias + n + j)));
                            _mm512_storeu_ps(place + i * outputs + j, value);
                        }
                }
        }
    }
}

// ROWS rows through both layers, then the next: what lies between them does not leave the cache.
template <int PARTS>
bool mlp(const float* x, Index rows, Index inputs, Index hidden, Index outputs, const uint16_t* weight1,
         const float* bias1, const uint16_t* weight2, const float* bias2, float* out) {
    static thread_local Scratch for_parts, for_hidden;
    uint16_t* left = for_parts.room<uint16_t>(ROWS * DEPTH<PARTS> * PARTS);
    float* between = for_hidden.room<float>(ROWS * hidden);
    if (!left || !between) return false;
    configure();
    for (Index m = 0; m < rows; m += ROWS) {
        const Index here = std::min(ROWS, rows - m);
        linear_relu<PARTS>(x + m * inputs, here, inputs, weight1, bias1, hidden, left, between);
        linear_relu<PARTS>(between, here, hidden, weight2, bias2, outputs, left, out + m * outputs);
    }
    _tile_release();
    return true;
}

// One map (height, width, inputs) at a time, two rows of it at once; four rows of its parts, in a frame of zeros, are
// held in turns.
template <int PARTS>
bool conv_relu_pool(const float* x, Index height, Index width, Index inputs, const uint16_t* weight, const float* bias,
                    Index outputs, float* out, Index out_row, Index out_column) {
    static thread_local Scratch scratch;
    const Index blocks = (width / 2 * 2 + 15) / 16;          // of 16 columns
    const Index plane = (blocks * 16 + 2 + 1) * inputs;      // a column more for an odd width
    const Index held = plane * PARTS;
    uint16_t* rows = scratch.room<uint16_t>(4 * held);
    if (!rows) return false;
    const __m512 zero = _mm512_setzero_ps();
    alignas(64) float results[SIDE * SIDE];
    std::memset(rows, 0, 4 * held * sizeof(uint16_t));
    auto slot = [&](Index row) { return rows + ((row + 4) % 4) * held; };
    auto fill = [&](Index row) {
        uint16_t* to = slot(row) + inputs;
        if (row >= height) {
            for (int part = 0; part < PARTS; ++part) std::memset(to + part * plane, 0, width * inputs * sizeof(uint16_t));
            return;
        }
        for (Index i = 0; i < width * inputs; i += 32) split<PARTS>(x + row * width * inputs + i, to + i, plane);
    };
    configure();
    fill(0);
    for (Index h = 0; h < height / 2; ++h) {
        fill(2 * h + 1);
        fill(2 * h + 2);
        written(rows);
        for (Index n = 0; n < outputs; n += SIDE)
            for (Index w = 0; w < blocks * 16; w += 16) {
                clear();
                const uint16_t* right = weight + n * 9 * inputs * PARTS;
                for (int i = 0; i < 3; ++i) {
                    const uint16_t* upper = slot(2 * h - 1 + i) + w * inputs;
                    const uint16_t* lower = slot(2 * h + i) + w * inputs;
                    for (Index k = 0; k < 3 * inputs; k += 32, right += 2 * TILE * PARTS)  // columns side by side
                        multiply<PARTS>(upper + k, lower + k, plane, inputs, right);
                }
                store_results(results, SIDE);
                for (Index i = 0; i < std::min<Index>(8, width / 2 - w / 2); ++i)
                    for (Index j = 0; j < SIDE; j += 16) {
                        const float* corner = results + 2 * i * SIDE + j;
                        __m512 top = larger(_mm512_load_ps(corner), _mm512_load_ps(corner + SIDE));
                        corner += 16 * SIDE;
                        __m512 bottom = larger(_mm512_load_ps(corner), _mm512_load_ps(corner + SIDE));
                        __m512 value = _mm512_add_ps(larger(top, bottom), _mm512_loadu_ps(bias + n + j));
                        _mm512_storeu_ps(out + h * out_row + (w / 2 + i) * out_column + n + j,
                                         _mm512_max_ps(zero, value));
                    }
            }
    }
    _tile_release();
    return true;
}

}  // namespace

// ---------------------------------------------------------------------------------------------------------------
// What Python calls. All inputs and outputs come in multiples of 32; `parts` is 1 or 3. What returns a number says
// whether there was memory.
// ---------------------------------------------------------------------------------------------------------------

extern "C" {

// Whether the system lets this process use the unit; asks for it.
int tiles_allowed() {
    const long REQUEST = 0x1023, TILE_DATA = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    return syscall(SYS_arch_prctl, REQUEST, TILE_DATA) == 0;
}

// A matrix (outputs, inputs) into `parts` times as many numbers: of each 32 outputs, of each 32 inputs, of each part,
// two tiles of 16 outputs, in which two inputs stand side by side.
void tiles_pack(const float* weight, Index outputs, Index inputs, int parts, uint16_t* out, int threads) {
    (parts == 3 ? pack<3> : pack<1>)(weight, outputs, inputs, out, threads);
}

// relu(w2 relu(w1 x + bias1) + bias2) of each row: `x` (rows, inputs) and `out` (rows, outputs), contiguous.
int tiles_mlp(const float* x, Index rows, Index inputs, Index hidden, Index outputs, const uint16_t* weight1,
               const float* bias1, const uint16_t* weight2, const float* bias2, int parts, float* out) {
    auto made = parts == 3 ? mlp<3> : mlp<1>;
    return made(x, rows, inputs, hidden, outputs, weight1, bias1, weight2, bias2, out);
}

// max_pool2d(relu(conv2d(x, w, bias, padding=1)), 2) of one map, channels side by side; `weight` is the packed matrix
// (outputs, 9 inputs), tap by tap. A value of `out` is `out_row` from the one below, `out_column` from the next.
int tiles_conv_relu_pool(const float* x, Index height, Index width, Index inputs, const uint16_t* weight,
                         const float* bias, Index outputs, int parts, float* out, Index out_row, Index out_column) {
    auto made = parts == 3 ? conv_relu_pool<3> : conv_relu_pool<1>;
    return made(x, height, width, inputs, weight, bias, outputs, out, out_row, out_column);
}
}

#else  // a processor without such a unit

extern "C" int tiles_allowed() { return 0; }

#endif
