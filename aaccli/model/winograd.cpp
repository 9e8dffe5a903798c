// Winograd F(4x4, 3x3) convolution on the CPU: 3x3 kernel, stride 1, padding 1, fp32, NHWC.
// A 6x6 input tile d and a 3x3 kernel g give a 4x4 output tile Y = A^T [(G g G^T) . (B^T d B)] A, where the product
// is element-wise over the 36 positions and summed over the channels: 36 small matrix products, with a quarter of the
// multiplications of the direct method. NHWC makes every transform a loop over channels, eight at a time.
//   V (36, tiles, C)      transformed input       M = V U (36, tiles, K)    products, transformed back to the output
//   U (36, K/16, C, 16)   transformed weights     dU = V^T (A dY A^T)       transformed gradient of the weights
// Plain C functions, which winograd.py calls; every tensor is dense, images in memory as (N, H, W, C).
#include <omp.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <new>

namespace {

using Index = int64_t;
typedef float Vec __attribute__((vector_size(32), aligned(4), may_alias));  // 8 floats, at any address

constexpr int kPoints = 36;    // positions of a transformed tile
constexpr int kRows = 6;       // micro-kernel: 6 x 16 accumulators fill 12 of the 16 AVX registers
constexpr int kPanel = 16;     // columns of a panel of the right-hand matrix
constexpr int kPad = 16;       // one cache line more per row, so that power-of-two sizes do not share cache sets
constexpr Index kDepth = 256;  // depth of a pass: a panel of 256 x 16 floats stays in L1
constexpr Index kTiles = 48;   // tiles of a block: few enough for V and M to stay in cache, enough to reuse U
constexpr Index kRange = 64, kJobs = 8;  // of the weight gradient: input channels of a job, least number of jobs

inline Index ceil_div(Index value, Index step) { return (value + step - 1) / step; }
inline Index round_up(Index value, Index step) { return ceil_div(value, step) * step; }
inline Vec load(const float* p) { return *reinterpret_cast<const Vec*>(p); }
inline void store(float* p, Vec v) { *reinterpret_cast<Vec*>(p) = v; }
inline Vec positive(Vec v) { return v < 0 ? Vec{} : v; }  // nan stays nan, as in PyTorch's relu

// One-dimensional transforms of vectors `s` apart, for the interpolation points 0, 1, -1, 2, -2 and infinity. The
// results at 1, -1, 2 and -2 come from the even and the odd parts of the polynomials there.
inline void at_opposite_points(Vec even1, Vec odd1, Vec even2, Vec odd2, Vec* o) {
    o[1] = even1 + odd1, o[2] = even1 - odd1;
    o[3] = even2 + odd2, o[4] = even2 - odd2;
}

inline void input_transform(const Vec* d, int s, Vec* o) {  // B^T: 6 -> 6
    const Vec d1 = d[s], d2 = d[2 * s], d3 = d[3 * s], d4 = d[4 * s];
    o[0] = 4 * d[0] - 5 * d2 + d4, o[5] = 4 * d1 - 5 * d3 + d[5 * s];
    at_opposite_points(d4 - 4 * d2, d3 - 4 * d1, d4 - d2, 2 * (d3 - d1), o);
}

inline void output_transform(const Vec* m, int s, Vec* o) {  // A^T: 6 -> 4
    const Vec sum1 = m[s] + m[2 * s], diff1 = m[s] - m[2 * s];
    const Vec sum2 = m[3 * s] + m[4 * s], diff2 = m[3 * s] - m[4 * s];
    o[0] = m[0] + sum1 + sum2, o[1] = diff1 + 2 * diff2;
    o[2] = sum1 + 4 * sum2, o[3] = diff1 + 8 * diff2 + m[5 * s];
}

inline void output_adjoint(const Vec* y, int s, Vec* o) {  // A: 4 -> 6
    const Vec y1 = y[s], y2 = y[2 * s], y3 = y[3 * s];
    o[0] = y[0], o[5] = y3;
    at_opposite_points(y[0] + y2, y1 + y3, y[0] + 4 * y2, 2 * y1 + 8 * y3, o);
}

inline void weight_transform(const Vec* g, int s, Vec* o) {  // G: 3 -> 6
    const Vec g0 = g[0] * (1.0f / 24), g1 = g[s] * (1.0f / 12), g2 = g[2 * s] * (1.0f / 6);
    o[0] = g[0] * 0.25f, o[5] = g[2 * s];
    at_opposite_points(-4 * g0 - g2, -2 * g1, g0 + g2, g1, o);
}

inline void weight_adjoint(const Vec* u, int s, Vec* o) {  // G^T: 6 -> 3
    const Vec sum1 = u[s] + u[2 * s], diff1 = u[2 * s] - u[s];
    const Vec sum2 = u[3 * s] + u[4 * s], diff2 = u[3 * s] - u[4 * s];
    o[0] = 0.25f * u[0] - (1.0f / 6) * sum1 + (1.0f / 24) * sum2;
    o[1] = (1.0f / 6) * diff1 + (1.0f / 12) * diff2;
    o[2] = (1.0f / 6) * (sum2 - sum1) + u[5 * s];
}

// Applies a transform along both axes of a square: columns first, then rows. `read(i)` gives the vector at position i,
// `write(i, v)` takes a result: the square itself is never stored.
template <int in, int out, void (*apply)(const Vec*, int, Vec*), class Read, class Write>
inline __attribute__((always_inline)) void transform_square(Read read, Write write) {
    Vec columns[in][out], line[6];
#pragma GCC unroll 6
    for (int j = 0; j < in; ++j) {
        for (int i = 0; i < in; ++i) line[i] = read(i * in + j);
        apply(line, 1, columns[j]);
    }
#pragma GCC unroll 6
    for (int i = 0; i < out; ++i) {
        apply(columns[0] + i, out, line);
        for (int j = 0; j < out; ++j) write(i * out + j, line[j]);
    }
}

// The tiling of images (N, H, W): the tiles of all the images are numbered row by row; each has 4x4 outputs.
struct Tiling {
    Index height, width, rows, columns, count;
    Tiling(Index images, Index height, Index width)
        : height(height), width(width), rows(ceil_div(height, 4)), columns(ceil_div(width, 4)),
          count(images * rows * columns) {}

    // Addresses of the 4x4 pixels of a tile, or of the 6x6 with a border; `outside` for those off the image.
    template <int size, class Float>
    void pixels(Index tile, Float* images, Index channels, Float* outside, Float** pixel) const {
        const Index image = tile / (rows * columns), place = tile % (rows * columns), border = (size - 4) / 2;
        const Index top = place / columns * 4 - border, left = place % columns * 4 - border;
        for (Index i = 0, y = top; i < size; ++i, ++y)
            for (Index j = 0, x = left; j < size; ++j, ++x) {
                const bool inside = y >= 0 && y < height && x >= 0 && x < width;
                pixel[i * size + j] = inside ? images + ((image * height + y) * width + x) * channels : outside;
            }
    }
};

// Transforms one tile of pixels, from channel c to `end`, into a row of the 36 matrices at `out`.
template <int size, void (*apply)(const Vec*, int, Vec*)>
void scatter_tile(const float* const* pixel, Index c, Index end, float* out, Index point_stride, Index panel_stride) {
    for (Index column = 0; c < end; c += 8, column += 8) {
        float* to = out + column / kPanel * panel_stride + column % kPanel;
        transform_square<size, 6, apply>([&](int i) { return load(pixel[i] + c); },
                                         [&](int i, Vec v) { store(to + i * point_stride, v); });
    }
}

// c (6 x 16) = or += a (6 x depth) b (depth x 16); `transposed`: a is stored (depth x 6).
template <bool transposed>
inline void multiply_block(const float* a, Index lda, const float* b, Index depth, float* c, Index ldc, bool add) {
    Vec sum[kRows][2] = {};
    for (Index p = 0; p < depth; ++p) {
        const Vec b0 = load(b + p * kPanel), b1 = load(b + p * kPanel + 8);
#pragma GCC unroll 6
        for (int i = 0; i < kRows; ++i) {
            const float value = transposed ? a[p * lda + i] : a[i * lda + p];
            sum[i][0] += value * b0, sum[i][1] += value * b1;
        }
    }
#pragma GCC unroll 6
    for (int i = 0; i < kRows; ++i, c += ldc) {
        store(c, add ? load(c) + sum[i][0] : sum[i][0]);
        store(c + 8, add ? load(c + 8) + sum[i][1] : sum[i][1]);
    }
}

// c (rows x columns) = or += a b, with b in panels (columns/16, panel_depth, 16); writes rows rounded up to six.
// Not inlined: inside a parallel region GCC 12 spills the accumulators, at half the speed.
template <bool transposed>
__attribute__((noinline)) void multiply(const float* a, Index lda, Index rows, const float* b, Index panel_depth,
                                        Index depth, Index columns, float* c, Index ldc, bool add) {
    for (Index p = 0; p < depth; p += kDepth)
        for (Index j = 0; j < columns; j += kPanel)
            for (Index i = 0; i < rows; i += kRows)
                multiply_block<transposed>(transposed ? a + p * lda + i : a + i * lda + p, lda,
                                           b + j * panel_depth + p * kPanel, std::min(kDepth, depth - p),
                                           c + i * ldc + j, ldc, add || p > 0);
}

// Memory that is kept from call to call: fresh pages would cost more than the transforms that fill them.
float* scratch(int slot, Index floats) {
    thread_local std::unique_ptr<float[]> memory[2];
    thread_local Index size[2] = {};
    if (size[slot] < floats) {
        size[slot] = 0, memory[slot].reset();  // before there are two of them
        memory[slot].reset(new float[floats]), size[slot] = floats;
    }
    return memory[slot].get();
}

// Calls job(index, thread) for every index; whoever is free takes the next. By OpenMP, whose library PyTorch brings:
// threads of our own would fight for the cores with PyTorch's, which wait for work by spinning.
template <class Job>
void share_out(Index jobs, Index threads, Job job) {
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (Index index = 0; index < jobs; ++index) job(index, Index{omp_get_thread_num()});
}

// Between two of the 36 matrices of U.
Index packed_stride(Index C, Index K) { return C * round_up(K, kPanel) + kPad; }

// U from weights w[k * sk + c * sc + i * si] (i the position in 3x3), in panels (36, K/16, C, 16).
void transform_weights(const float* w, Index sk, Index sc, Index si, Index C, Index K, float* u, Index point_stride,
                       Index threads) {
    share_out(ceil_div(K, kPanel), threads, [&](Index index, Index) {
        const Index panel = index * kPanel;
        for (Index c = 0; c < C; ++c)
            for (Index k = panel; k < std::min(panel + kPanel, K); k += 8) {
                const float* from = w + k * sk + c * sc;
                float* to = u + panel * C + c * kPanel + k - panel;
                const auto read = [&](int i) {
                    Vec v;
                    for (int lane = 0; lane < 8; ++lane) v[lane] = from[lane * sk + i * si];
                    return v;
                };
                transform_square<3, 6, weight_transform>(read, [&](int i, Vec v) { store(to + i * point_stride, v); });
            }
    });
}

// y (N, H, W, K) = conv(x (N, H, W, C), U): a thread takes a block of tiles through all three steps. With a bias,
// y = relu(conv(x, U) + bias): while a tile is at hand that costs nothing.
void convolve(const float* x, const float* u, Index C, Index K, const Tiling& tiling, float* y, const float* bias,
              Index threads) {
    const Index ldv = C + kPad, ldm = round_up(K, kPanel) + kPad, u_stride = packed_stride(C, K);
    const Index block = std::min(kTiles, round_up(ceil_div(tiling.count, threads), kRows));
    const Index v_stride = block * ldv + kPad, m_stride = block * ldm + kPad;
    const Index share = kPoints * (v_stride + m_stride) + C + K;
    float* memory = scratch(1, threads * share);
    share_out(ceil_div(tiling.count, block), threads, [&](Index index, Index thread) {
        const Index first = index * block, count = std::min(block, tiling.count - first);
        float *v = memory + thread * share, *m = v + kPoints * v_stride, *zeros = m + kPoints * m_stride;
        std::fill_n(zeros, C, 0.0f);
        for (Index t = 0; t < count; ++t) {
            const float* pixel[36];
            tiling.pixels<6, const float>(first + t, x, C, zeros, pixel);
            scatter_tile<6, input_transform>(pixel, 0, C, v + t * ldv, v_stride, kPanel);
        }
        for (Index i = 0; i < kPoints; ++i)
            multiply<false>(v + i * v_stride, ldv, count, u + i * u_stride, C, C, K, m + i * m_stride, ldm, false);
        for (Index t = 0; t < count; ++t) {
            float* pixel[16];
            tiling.pixels<4, float>(first + t, y, K, zeros + C, pixel);  // what lies off the image goes to waste
            for (Index k = 0; k < K; k += 8) {
                const Vec b = bias ? load(bias + k) : Vec{};
                transform_square<6, 4, output_transform>(
                    [&](int i) { return load(m + i * m_stride + t * ldm + k); },
                    [&](int i, Vec v) { store(pixel[i] + k, bias ? positive(v + b) : v); });
            }
        }
    });
}

// How the work is shared out: a job is a part of the tiles and a range of input channels, and has a dU of its own, of
// (36, channels, K). Jobs need no barriers, and their number does not depend on the threads: always the same bits.
struct Jobs {
    Index channels, ranges, parts, tiles, columns, point_stride, stride;  // `channels` of a range, `tiles` of a part
    Jobs(Index C, Index K, Index count)
        : channels(std::min(C, kRange)), ranges(ceil_div(C, channels)),
          parts(std::min(ceil_div(kJobs, ranges), ceil_div(count, kTiles))), tiles(ceil_div(count, parts)),
          columns(round_up(K, kPanel)), point_stride(round_up(channels, kRows) * columns + kPad),
          stride(kPoints * point_stride) {}
};

// dU of every job: the sum over its tiles, a block of them at a time.
void run_jobs(const float* x, const float* dy, Index C, Index K, const Tiling& tiling, const Jobs& jobs, float* du,
              Index threads) {
    const Index ldv = jobs.channels + kPad, v_stride = kTiles * ldv + kPad, m_stride = kTiles * jobs.columns + kPad;
    const Index share = kPoints * (v_stride + m_stride) + std::max(C, K);
    float* memory = scratch(1, threads * share);
    share_out(jobs.parts * jobs.ranges, threads, [&](Index job, Index thread) {
        float *v = memory + thread * share, *m = v + kPoints * v_stride, *zeros = m + kPoints * m_stride;
        std::fill_n(zeros, std::max(C, K), 0.0f);
        const Index begin = job / jobs.ranges * jobs.tiles, end = std::min(begin + jobs.tiles, tiling.count);
        const Index c = job % jobs.ranges * jobs.channels, c_end = std::min(c + jobs.channels, C);
        for (Index first = begin; first < end; first += kTiles) {
            const Index count = std::min(kTiles, end - first);
            for (Index t = 0; t < count; ++t) {
                const float *pixel[36], *gradient[16];
                tiling.pixels<6, const float>(first + t, x, C, zeros, pixel);
                scatter_tile<6, input_transform>(pixel, c, c_end, v + t * ldv, v_stride, kPanel);
                tiling.pixels<4, const float>(first + t, dy, K, zeros, gradient);
                scatter_tile<4, output_adjoint>(gradient, 0, K, m + t * kPanel, m_stride, kTiles * kPanel);
            }
            for (int i = 0; i < kPoints; ++i)
                multiply<true>(v + i * v_stride, ldv, c_end - c, m + i * m_stride, kTiles, count, jobs.columns,
                               du + job * jobs.stride + i * jobs.point_stride, jobs.columns, first > begin);
        }
    });
}

// dW (K, 3, 3, C) from the sum of the parts' dU.
void gather_weights(const float* du, const Jobs& jobs, Index C, Index K, float* w, Index threads) {
    share_out(C / 8, threads, [&](Index block, Index) {
        for (Index k = 0; k < K; k += 8)
            for (Index c = block * 8; c < block * 8 + 8; ++c) {
                const float* first = du + c / jobs.channels * jobs.stride + c % jobs.channels * jobs.columns + k;
                const auto read = [&](int i) {
                    Vec sum = {};
                    for (Index p = 0; p < jobs.parts; ++p)
                        sum += load(first + i * jobs.point_stride + p * jobs.ranges * jobs.stride);
                    return sum;
                };
                transform_square<6, 3, weight_adjoint>(read, [&](int i, Vec v) {
                    for (int lane = 0; lane < 8; ++lane) w[((k + lane) * 9 + i) * C + c] = v[lane];
                });
            }
    });
}

// No exception leaves this file: 1 says that there was too little memory.
template <class Work>
int guarded(Work work) {
    try {
        work();
        return 0;
    } catch (const std::bad_alloc&) {
        return 1;
    }
}

}  // namespace

extern "C" {

Index packed_floats(Index C, Index K) { return kPoints * packed_stride(C, K); }

// For inference: the transformed weights, kept from call to call. Weights (K, C, 3, 3), in memory (K, 3, 3, C).
int pack(const float* w, Index C, Index K, float* u, Index threads) {
    return guarded([&] { transform_weights(w, 9 * C, 1, C, C, K, u, packed_stride(C, K), threads); });
}

// y = relu(conv(x, U) + bias)
int convolve_packed(const float* x, const float* u, const float* bias, Index N, Index H, Index W, Index C, Index K,
                    float* y, Index threads) {
    return guarded([&] { convolve(x, u, C, K, Tiling(N, H, W), y, bias, threads); });
}

// y = conv(x, w). `turned` takes gradients of the outputs, of K channels, to those of the inputs, of C, by the same
// convolution with the kernels turned by 180 degrees and the roles of C and K exchanged.
int convolve_once(const float* x, const float* w, Index N, Index H, Index W, Index C, Index K, int turned, float* y,
                  Index threads) {
    return guarded([&] {
        const Index in = turned ? K : C, out = turned ? C : K, u_stride = packed_stride(in, out);
        float* u = scratch(0, kPoints * u_stride);
        if (turned) transform_weights(w + 8 * C, 1, 9 * C, -C, in, out, u, u_stride, threads);
        else transform_weights(w, 9 * C, 1, C, in, out, u, u_stride, threads);
        convolve(x, u, in, out, Tiling(N, H, W), y, nullptr, threads);
    });
}

int weight_gradient(const float* x, const float* dy, Index N, Index H, Index W, Index C, Index K, float* dw,
                    Index threads) {
    return guarded([&] {
        const Tiling tiling(N, H, W);
        const Jobs jobs(C, K, tiling.count);
        float* du = scratch(0, jobs.parts * jobs.ranges * jobs.stride);
        run_jobs(x, dy, C, K, tiling, jobs, du, threads);
        gather_weights(du, jobs, C, K, dw, threads);
    });
}

}  // extern "C"
