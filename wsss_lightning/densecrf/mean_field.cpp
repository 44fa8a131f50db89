// Mean field of the fully connected CRF for one image on one core.
//
// Kernels are filtered on the permutohedral lattice (Adams, Baek & Davis 2010). A pixel spreads its
// label probabilities to the D + 1 corners of the simplex that its feature lies in (splat), lattice
// points mix with their neighbours along D + 1 axes (blur), and pixels gather from their corners
// (slice). An iteration touches each pixel once: slice, softmax and the splat of the next
// iteration are one pass, so marginals never go through memory.
//
// Label probabilities of one pixel or lattice point are contiguous, padded to whole vectors.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <vector>

namespace {

// Images are processed in columns of tiles: nearby pixels share lattice points, whose rows are
// still in the first-level cache when the next line of the tile reads them.
constexpr int TILE_WIDTH = 16, TILE_HEIGHT = 4, BLOCK = TILE_WIDTH * TILE_HEIGHT;

struct Tile {
  int x, y, width, height;
  int count() const { return width * height; }
};

// visit(tile, number of pixels before it)
template <typename Visit>
void for_tiles(int height, int width, Visit visit) {
  size_t begin = 0;
  for (int x = 0; x < width; x += TILE_WIDTH)
    for (int y = 0; y < height; y += TILE_HEIGHT) {
      const Tile tile = {x, y, std::min(TILE_WIDTH, width - x), std::min(TILE_HEIGHT, height - y)};
      visit(tile, begin);
      begin += tile.count();
    }
}

// smaller probabilities count as zero: their products would become denormal and slow
constexpr float LEAST_EXPONENT = -60;

enum Status { DONE = 0, NO_MEMORY = 1, TOO_NARROW = 2, TOO_MANY_LABELS = 3 };
struct TooNarrow {};

template <typename T>
class Buffer {
 public:
  void allocate(size_t count) {
    const size_t bytes = (count * sizeof(T) / 64 + 1) * 64;
    data_.reset(static_cast<T*>(std::aligned_alloc(64, bytes)));
    if (!data_) throw std::bad_alloc();
  }
  T* get() const { return data_.get(); }
  T& operator[](size_t i) const { return data_.get()[i]; }

 private:
  struct Free {
    void operator()(T* data) const { std::free(data); }
  };
  std::unique_ptr<T[], Free> data_;
};

// Lattice points by key, numbered from 1; 0 stands for a missing point.
class HashTable {
 public:
  HashTable() : keys(1, ~uint64_t{0}) { resize(size_t{1} << 15); }

  void prefetch(uint64_t key) const { __builtin_prefetch(&slots_[first(key)]); }

  uint32_t find(uint64_t key) const {
    size_t i = first(key);
    while (slots_[i].point && slots_[i].key != key) i = (i + 1) & (slots_.size() - 1);
    return slots_[i].point;
  }

  uint32_t insert(uint64_t key) {
    size_t i = first(key);
    while (slots_[i].point && slots_[i].key != key) i = (i + 1) & (slots_.size() - 1);
    if (slots_[i].point) return slots_[i].point;
    keys.push_back(key);
    const uint32_t point = static_cast<uint32_t>(keys.size() - 1);
    slots_[i] = {key, point};
    if (keys.size() > slots_.size() / 2) resize(2 * slots_.size());
    return point;
  }

  std::vector<uint64_t> keys;  // of each point

 private:
  struct Slot {
    uint64_t key;
    uint32_t point;
  };

  size_t first(uint64_t key) const { return (key * 0x9E3779B97F4A7C15u) >> shift_; }

  void resize(size_t size) {
    slots_.assign(size, Slot{0, 0});
    shift_ = 64;
    for (size_t s = size; s > 1; s /= 2) --shift_;
    for (size_t point = 1; point < keys.size(); ++point) {
      size_t i = first(keys[point]);
      while (slots_[i].point) i = (i + 1) & (size - 1);
      slots_[i] = {keys[point], static_cast<uint32_t>(point)};
    }
  }

  std::vector<Slot> slots_;
  int shift_ = 0;
};

// A point of the lattice has D + 1 coordinates that sum to zero and leave the same remainder when
// divided by D + 1. Its key is one number in mixed radix: the quotients of the first D coordinates,
// then the remainder.
template <int D>
class Lattice {
  static constexpr int V = D + 1;  // corners of a simplex, and axes

 public:
  size_t points = 0;
  Buffer<uint32_t> at;   // pixel, corner
  Buffer<float> weight;  // pixel, corner
  // neighbours along each axis: chains of points, each followed by a 0; points without a
  // neighbour along the axis keep their value and are left out
  std::vector<uint32_t> chains[V];
  static constexpr int AHEAD = 8;  // entries after the chains that may be read

  // features(tile, f) writes the features of the tile's pixels, between 0 and `highest`
  template <typename Features>
  void build(int height, int width, const float (&highest)[D], Features features) {
    const size_t pixels = size_t(height) * width;
    float scale[D];
    const float deviation = static_cast<float>(std::sqrt(2. / 3) * V);
    for (int i = 0; i < D; ++i)
      scale[i] = static_cast<float>(1 / std::sqrt((i + 1.) * (i + 2.)) * deviation);
    uint64_t stride[V], radix = 1, origin = 0, all = 0;
    double behind = 0;  // the most that the following features may add to a coordinate
    double reach[V];
    for (int i = D; i >= 0; --i) {
      reach[i] = behind;
      if (i > 0) behind += double(highest[i - 1]) * scale[i - 1];
    }
    for (int i = 0; i < D; ++i) {
      // rounding, corners and neighbours reach a few steps further
      const double low =
          i > 0 ? std::floor(-i * double(highest[i - 1]) * scale[i - 1] / V) - 4 : -4;
      const double span = std::ceil(reach[i] / V) + 5 - low;
      if (span * static_cast<double>(radix) * V > 9e18) throw TooNarrow();
      stride[i] = radix;
      radix *= static_cast<uint64_t>(span);
      origin += static_cast<uint64_t>(-low) * stride[i];
      all += stride[i];
    }
    stride[D] = 0;  // the last coordinate follows from the others
    uint64_t step[V];
    for (int i = 0; i < V; ++i) step[i] = radix - stride[i];

    at.allocate(pixels * V);
    weight.allocate(pixels * V);
    HashTable table;
    uint64_t last_key[V];
    uint32_t last_point[V] = {};
    std::fill_n(last_key, V, ~uint64_t{0});

    alignas(64) float f[D][BLOCK] = {}, elevated[V][BLOCK], base[V][BLOCK], part[V][BLOCK];
    alignas(64) float sorted[V][BLOCK];
    alignas(64) int32_t rank[V][BLOCK], which[V][BLOCK], sum[BLOCK];
    alignas(64) uint64_t key[V][BLOCK];
    for_tiles(height, width, [&](const Tile& tile, size_t begin) {
      const int count = tile.count();
      features(tile, f);
      for (int i = 0; i < D; ++i) std::fill(f[i] + count, f[i] + BLOCK, 0.f);
      for (int i = D; i > 0; --i)
        for (int p = 0; p < BLOCK; ++p) {
          f[i - 1][p] *= scale[i - 1];
          part[i][p] = i * f[i - 1][p];
        }
      // Products are stored before they are added: fused, they would round differently from
      // other engines, and pixels on the border of two simplices could fall into another one.
      __asm__ volatile("" : : "r"(f), "r"(part) : "memory");
      std::fill_n(elevated[0], BLOCK, 0.f);
      for (int i = D; i > 0; --i)
        for (int p = 0; p < BLOCK; ++p) {
          elevated[i][p] = elevated[0][p] - part[i][p];
          elevated[0][p] += f[i - 1][p];
        }
      // the nearest point of remainder zero, and the rank of each coordinate's distance from it
      std::fill_n(sum, BLOCK, 0);
      for (int i = 0; i < V; ++i)
        for (int p = 0; p < BLOCK; ++p) {
          base[i][p] = __builtin_rintf(elevated[i][p] * (1.f / V));
          sum[p] += static_cast<int32_t>(base[i][p]);
          part[i][p] = elevated[i][p] - base[i][p] * V;
          rank[i][p] = 0;
        }
      for (int i = 0; i < V; ++i)
        for (int j = i + 1; j < V; ++j)
          for (int p = 0; p < BLOCK; ++p) {
            const int32_t less = part[i][p] < part[j][p];
            rank[i][p] += less;
            rank[j][p] += 1 - less;
          }
      for (int i = 0; i < V; ++i)
        for (int p = 0; p < BLOCK; ++p) {
          const int32_t r = rank[i][p] + sum[p];
          const int32_t turn = (r < 0) - (r > D);
          rank[i][p] = r + turn * V;
          base[i][p] += turn;
          part[i][p] = (part[i][p] - turn * V) * (1.f / V);
        }
      for (int r = 0; r < V; ++r) {
        std::fill_n(sorted[r], BLOCK, 0.f);
        std::fill_n(which[r], BLOCK, 0);
        for (int i = 0; i < V; ++i)
          for (int p = 0; p < BLOCK; ++p) {
            sorted[r][p] += rank[i][p] == r ? part[i][p] : 0.f;
            which[r][p] += rank[i][p] == r ? i : 0;
          }
      }
      // from one corner to the next, the coordinate of the next lower rank decreases
      std::fill_n(key[0], BLOCK, origin);
      for (int i = 0; i < D; ++i)
        for (int p = 0; p < BLOCK; ++p)
          key[0][p] += static_cast<uint64_t>(static_cast<int64_t>(base[i][p])) * stride[i];
      for (int r = 1; r < V; ++r)
        for (int p = 0; p < BLOCK; ++p) key[r][p] = key[r - 1][p] + step[which[V - r][p]];

      for (int r = 0; r < V; ++r)
        for (int p = 0; p < count; ++p)
          weight[(begin + p) * V + r] =
              r > 0 ? sorted[D - r][p] - sorted[V - r][p] : 1 + sorted[D][p] - sorted[0][p];
      for (int r = 0; r < V; ++r)
        for (int p = 0; p < count; ++p)
          if (key[r][p] != (p > 0 ? key[r][p - 1] : last_key[r])) table.prefetch(key[r][p]);
      for (int p = 0; p < count; ++p)
        for (int r = 0; r < V; ++r) {
          if (key[r][p] != last_key[r]) {
            last_key[r] = key[r][p];
            last_point[r] = table.insert(key[r][p]);
          }
          at[(begin + p) * V + r] = last_point[r];
        }
    });

    connect(table, stride, radix, all);
  }

  // Scales the weights so that splat, blur and slice together compute
  // factor D^-1/2 K D^-1/2 with D = diag(K 1).
  void normalise(size_t pixels, float factor);

 private:
  // finds the chains of lattice points; `all` is the sum of the strides
  void connect(const HashTable& table, const uint64_t (&stride)[V], uint64_t radix, uint64_t all) {
    points = table.keys.size();
    std::vector<uint32_t> next(points);
    std::vector<uint8_t> follows(points);
    uint64_t key[BLOCK];
    for (int j = 0; j < V; ++j) {
      // one step along axis j: all coordinates - 1, its own + D
      const uint64_t up = stride[j] - radix, round = stride[j] - all + D * radix;
      std::fill(follows.begin(), follows.end(), 0);
      for (size_t from = 1; from < points; from += BLOCK) {
        const size_t to = std::min(points, from + BLOCK);
        for (size_t v = from; v < to; ++v) {
          key[v - from] = table.keys[v] + (table.keys[v] >= radix ? up : round);
          table.prefetch(key[v - from]);
        }
        for (size_t v = from; v < to; ++v) follows[next[v] = table.find(key[v - from])] = 1;
      }
      chains[j].clear();
      for (size_t v = 1; v < points; ++v) {
        if (follows[v] || !next[v]) continue;
        for (uint32_t u = static_cast<uint32_t>(v); u; u = next[u]) chains[j].push_back(u);
        chains[j].push_back(0);
      }
      chains[j].resize(chains[j].size() + AHEAD);
    }
  }
};

typedef float four __attribute__((vector_size(16)));
typedef float eight __attribute__((vector_size(32)));

#if defined(__clang__) || __GNUC__ >= 12
#define LANES(v, ...) __builtin_shufflevector(v, v, __VA_ARGS__)
#else
#define LANES(v, ...) __builtin_shuffle(v, decltype((v) < (v)){__VA_ARGS__})
#endif

template <typename T>
inline T larger(T a, T b) {
  return a > b ? a : b;
}

// the result of all lanes, in every lane
inline four largest(four v) {
  v = larger(v, LANES(v, 2, 3, 0, 1));
  return larger(v, LANES(v, 1, 0, 3, 2));
}
inline eight largest(eight v) {
  v = larger(v, LANES(v, 4, 5, 6, 7, 0, 1, 2, 3));
  v = larger(v, LANES(v, 2, 3, 0, 1, 6, 7, 4, 5));
  return larger(v, LANES(v, 1, 0, 3, 2, 5, 4, 7, 6));
}
inline four total(four v) {
  v += LANES(v, 2, 3, 0, 1);
  return v + LANES(v, 1, 0, 3, 2);
}
inline eight total(eight v) {
  v += LANES(v, 4, 5, 6, 7, 0, 1, 2, 3);
  v += LANES(v, 2, 3, 0, 1, 6, 7, 4, 5);
  return v + LANES(v, 1, 0, 3, 2, 5, 4, 7, 6);
}

// 2^n times the series of e^f, |f| <= ln(2) / 2; relative error below 3e-7
inline float exponential(float x) {
  const float power = larger(x, LEAST_EXPONENT) * 1.44269504f;
  const float n = __builtin_rintf(power);
  const float f = (power - n) * 0.693147181f;
  float y = 1.f / 5040;
  y = y * f + 1.f / 720;
  y = y * f + 1.f / 120;
  y = y * f + 1.f / 24;
  y = y * f + 1.f / 6;
  y = y * f + 0.5f;
  y = y * f + 1;
  y = y * f + 1;
  const int32_t bits = (static_cast<int32_t>(n) + 127) * (1 << 23);
  float scale;
  std::memcpy(&scale, &bits, sizeof scale);
  return x > LEAST_EXPONENT ? y * scale : 0.f;
}

// Tables of lattice points with N vectors a row.
template <typename Vector, int N, int D>
class Table {
  static constexpr int V = D + 1;

 public:
  explicit Table(const Lattice<D>* lattice) : lattice_(lattice) {
    if (!lattice) return;
    size_ = lattice->points * N;
    rows_.allocate(size_);
    next_.allocate(size_);
    clear();
  }
  bool used() const { return lattice_ != nullptr; }

  // the splatted table becomes the sliced one
  void turn() {
    std::swap(rows_, next_);
    blur();
    clear();
  }

  inline void slice(size_t pixel, Vector (&sum)[N]) const {
    const uint32_t* at = lattice_->at.get() + pixel * V;
    const float* weight = lattice_->weight.get() + pixel * V;
    for (int k = 0; k < V; ++k) {
      const Vector* row = rows_.get() + size_t(at[k]) * N;
      for (int l = 0; l < N; ++l) sum[l] += weight[k] * row[l];
    }
  }

  inline void splat(size_t pixel, const Vector (&value)[N]) const {
    const uint32_t* at = lattice_->at.get() + pixel * V;
    const float* weight = lattice_->weight.get() + pixel * V;
    for (int k = 0; k < V; ++k) {
      Vector* row = next_.get() + size_t(at[k]) * N;
      for (int l = 0; l < N; ++l) row[l] += weight[k] * value[l];
    }
  }

 private:
  void clear() { std::memset(next_.get(), 0, size_ * sizeof(Vector)); }

  // each value plus half of those before and after it, along each axis in turn
  void blur() {
    Vector* rows = rows_.get();
    for (const std::vector<uint32_t>& chain : lattice_->chains) {
      const uint32_t* v = chain.data();
      const uint32_t* end = v + chain.size() - Lattice<D>::AHEAD;
      while (v < end) {
        Vector before[N], here[N];
        for (int l = 0; l < N; ++l) before[l] = Vector{}, here[l] = rows[size_t(*v) * N + l];
        for (; v[1]; ++v) {
          const Vector* later = rows + size_t(v[Lattice<D>::AHEAD]) * N;
          __builtin_prefetch(later);
          if (N * sizeof(Vector) > 64) __builtin_prefetch(later + N - 1);
          for (int l = 0; l < N; ++l) {
            const Vector after = rows[size_t(v[1]) * N + l];
            rows[size_t(*v) * N + l] = here[l] + 0.5f * (before[l] + after);
            before[l] = here[l];
            here[l] = after;
          }
        }
        for (int l = 0; l < N; ++l) rows[size_t(*v) * N + l] = here[l] + 0.5f * before[l];
        v += 2;
      }
    }
  }

  const Lattice<D>* lattice_;
  size_t size_ = 0;
  Buffer<Vector> rows_, next_;
};

template <int D>
void Lattice<D>::normalise(size_t pixels, float factor) {
  Table<float, 1, D> table(this);
  const float one[1] = {1};
  for (size_t p = 0; p < pixels; ++p) table.splat(p, one);
  table.turn();
  const float alpha = 1 / (1 + std::pow(2.f, -static_cast<float>(D)));
  const float root = std::sqrt(factor * alpha);
  for (size_t p = 0; p < pixels; ++p) {
    float sum[1] = {0};
    table.slice(p, sum);
    const float scale = root / std::sqrt(alpha * sum[0] + 1e-20f);
    for (int k = 0; k < V; ++k) weight[p * V + k] *= scale;
  }
}

struct Problem {
  const Lattice<5>* appearance;  // either kernel may be absent
  const Lattice<2>* smoothness;
  const float* unary;  // label, row, column
  float* marginal;
  int labels, height, width, iterations;
};

template <typename Vector, int N>
void infer(const Problem& problem) {
  constexpr int P = N * sizeof(Vector) / sizeof(float);  // labels with padding
  const int height = problem.height, width = problem.width, labels = problem.labels;
  const size_t pixels = size_t(height) * width;
  Buffer<Vector> negated;  // unary
  negated.allocate(pixels * N);
  Table<Vector, N, 5> appearance(problem.appearance);
  Table<Vector, N, 2> smoothness(problem.smoothness);
  alignas(64) float value[BLOCK * P];
  Vector* const v = reinterpret_cast<Vector*>(value);
  for (int t = 0; t <= problem.iterations; ++t) {
    const bool first = t == 0, last = t == problem.iterations;
    if (!first && appearance.used()) appearance.turn();
    if (!first && smoothness.used()) smoothness.turn();
    for_tiles(height, width, [&](const Tile& tile, size_t begin) {
      const int count = tile.count();
      const size_t corner = size_t(tile.y) * width + tile.x;
      Vector* const energy = negated.get() + begin * N;
      if (first) {
        float* to = reinterpret_cast<float*>(energy);
        std::fill(to, to + count * P, -1e30f);
        for (int l = 0; l < labels; ++l)
          for (int p = 0, r = 0; r < tile.height; ++r)
            for (int c = 0; c < tile.width; ++c, ++p)
              to[p * P + l] = -problem.unary[l * pixels + corner + size_t(r) * width + c];
      }
      for (int p = 0; p < count; ++p) {
        __builtin_prefetch(energy + (p + 8) * N);
        Vector sum[N];
        for (int l = 0; l < N; ++l) sum[l] = energy[p * N + l];
        if (!first && appearance.used()) appearance.slice(begin + p, sum);
        if (!first && smoothness.used()) smoothness.slice(begin + p, sum);
        Vector most = sum[0];
        for (int l = 1; l < N; ++l) most = larger(most, sum[l]);
        most = largest(most);
        for (int l = 0; l < N; ++l) v[p * N + l] = sum[l] - most;
      }
      for (int i = 0; i < count * P; ++i) value[i] = exponential(value[i]);
      for (int p = 0; p < count; ++p) {
        Vector sum = v[p * N];
        for (int l = 1; l < N; ++l) sum += v[p * N + l];
        const Vector scale = 1 / total(sum);
        Vector marginal[N];
        for (int l = 0; l < N; ++l) marginal[l] = v[p * N + l] * scale;
        if (last) {
          for (int l = 0; l < N; ++l) v[p * N + l] = marginal[l];
        } else {
          if (appearance.used()) appearance.splat(begin + p, marginal);
          if (smoothness.used()) smoothness.splat(begin + p, marginal);
        }
      }
      if (last)
        for (int l = 0; l < labels; ++l)
          for (int p = 0, r = 0; r < tile.height; ++r)
            for (int c = 0; c < tile.width; ++c, ++p)
              problem.marginal[l * pixels + corner + size_t(r) * width + c] = value[p * P + l];
    });
  }
}

// smallest number of vectors that hold all labels
void infer_labels(const Problem& problem) {
  const int labels = problem.labels;
  if (labels <= 4) return infer<four, 1>(problem);
  if (labels <= 8) return infer<eight, 1>(problem);
  if (labels <= 16) return infer<eight, 2>(problem);
  if (labels <= 24) return infer<eight, 3>(problem);
  if (labels <= 32) return infer<eight, 4>(problem);
  if (labels <= 48) return infer<eight, 6>(problem);
  if (labels <= 64) return infer<eight, 8>(problem);
  if (labels <= 96) return infer<eight, 12>(problem);
  if (labels <= 128) return infer<eight, 16>(problem);
  return infer<eight, 32>(problem);
}

}  // namespace

extern "C" int mean_field(const uint8_t* image, const float* unary, float* marginal, int labels,
                          int height, int width, float theta_alpha, float theta_beta,
                          float theta_gamma, float w1, float w2, int iterations) {
  if (labels > 256) return TOO_MANY_LABELS;
  try {
    const size_t pixels = size_t(height) * width;
    const bool by_colour = w1 > 0 && iterations > 0, nearby = w2 > 0 && iterations > 0;
    Lattice<5> appearance;
    Lattice<2> smoothness;
    if (by_colour) {
      const float right = (width - 1) / theta_alpha, bottom = (height - 1) / theta_alpha;
      const float white = 255 / theta_beta;
      appearance.build(height, width, {right, bottom, white, white, white},
                       [=](const Tile& tile, float (&f)[5][BLOCK]) {
                         for (int p = 0, y = tile.y; y < tile.y + tile.height; ++y)
                           for (int x = tile.x; x < tile.x + tile.width; ++x, ++p) {
                             const uint8_t* rgb = image + 3 * (size_t(y) * width + x);
                             f[0][p] = x / theta_alpha;
                             f[1][p] = y / theta_alpha;
                             for (int c = 0; c < 3; ++c) f[2 + c][p] = rgb[c] / theta_beta;
                           }
                       });
      appearance.normalise(pixels, w1);
    }
    if (nearby) {
      const float right = (width - 1) / theta_gamma, bottom = (height - 1) / theta_gamma;
      smoothness.build(height, width, {right, bottom}, [=](const Tile& tile, float (&f)[2][BLOCK]) {
        for (int p = 0, y = tile.y; y < tile.y + tile.height; ++y)
          for (int x = tile.x; x < tile.x + tile.width; ++x, ++p) {
            f[0][p] = x / theta_gamma;
            f[1][p] = y / theta_gamma;
          }
      });
      smoothness.normalise(pixels, w2);
    }
    infer_labels({by_colour ? &appearance : nullptr, nearby ? &smoothness : nullptr, unary,
                  marginal, labels, height, width, iterations});
    return DONE;
  } catch (const TooNarrow&) {
    return TOO_NARROW;
  } catch (const std::exception&) {  // bad_alloc, length_error
    return NO_MEMORY;
  }
}
