// Loss and gradient of one exact Gaussian process after the other, without Python.
//
// The formulas are those of exact.py, criteria.py, nodes.py and values.py, which say
// what they mean and are what this is checked against. Here every symmetric matrix is a
// lower triangle in rows of equal length, and a kernel's tree is walked once up and once
// down for each model, which stays in the processor's cache meanwhile.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

namespace {

constexpr int64_t BLOCK = 4;  // features that are gone through at once
constexpr double PI = 3.14159265358979323846;

enum Kind {
  // Of the scaled squared distance.
  EXPONENTIAL,
  RBF,
  MATERN12,
  MATERN32,
  MATERN52,
  RATIONAL_QUADRATIC,
  // Of the inputs.
  PERIODIC,
  LINEAR,
  POLYNOMIAL,
  INDEX,
  // Of other kernels.
  SCALE,
  MIXTURE,
  PRODUCT
};
enum Constraint { SOFTPLUS, SIGMOID, EXP };
enum Prior { GAMMA, LOG_NORMAL, NORMAL, BETA };
enum Criterion { EVIDENCE, LEAVE_ONE_OUT_LOG_DENSITY, LEAVE_ONE_OUT_CRPS };
enum Outcome { FOUND, SINGULAR };

// e^x for x <= 0 to about one unit in the last place, in a form that compilers turn
// into vector instructions: x = k log 2 + r, and e^r by its Taylor polynomial.
inline double exp_of_negative(double x) {
  constexpr double MAGIC = 6755399441055744.0;  // 1.5 * 2^52: adding it rounds
  x = x > -708.0 ? x : -708.0;
  const double shifted = x * 1.4426950408889634 + MAGIC;
  const double k = shifted - MAGIC;
  const double r =
      (x - k * 0.693147180369123816490) - k * 1.90821492927058770002e-10;
  double p = 1.0 / 6227020800.0;
  p = p * r + 1.0 / 479001600.0;
  p = p * r + 1.0 / 39916800.0;
  p = p * r + 1.0 / 3628800.0;
  p = p * r + 1.0 / 362880.0;
  p = p * r + 1.0 / 40320.0;
  p = p * r + 1.0 / 5040.0;
  p = p * r + 1.0 / 720.0;
  p = p * r + 1.0 / 120.0;
  p = p * r + 1.0 / 24.0;
  p = p * r + 1.0 / 6.0;
  p = p * r + 0.5;
  p = p * r + 1.0;
  p = p * r + 1.0;
  int64_t bits, power;
  std::memcpy(&bits, &p, sizeof bits);
  std::memcpy(&power, &shifted, sizeof power);
  bits += static_cast<int64_t>(static_cast<uint64_t>(power) << 52);
  std::memcpy(&p, &bits, sizeof p);
  return p;
}

double softplus(double x) {
  const double rest = std::log1p(std::exp(-std::abs(x)));
  return x > 0 ? x + rest : rest;
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

}  // namespace

extern "C" {

// A node of a kernel's tree; children come before their parents.
struct Node {
  int64_t kind;
  int64_t column;       // of its first parameter; -1 for none
  int64_t first_child;  // in `children`
  int64_t num_children;
  int64_t num_features;
  const double* features;  // of all models, b x n x d
  int64_t model_stride, point_stride;
  const int64_t* owners;  // parameter of each feature, from `column` on
  double factor;          // of squared features; the power of a polynomial
  // An exponent, an offset, or period lengths: of each feature, or one for all.
  int64_t other_column, other_per_feature;
  // Of an index kernel B = F F' + diag(v), with v from `column` on and F in rows from
  // `other_column` on; B is divided by its entry of the target, unless that is -1.
  int64_t num_tasks, rank, target;
  const int64_t* inputs;  // of the warped ones, those that are its features, or null
};

struct Group {  // of columns with one kind of constraint
  int64_t kind, begin, end;
  double low, high;
};

struct PriorOf {  // one column
  int64_t kind, column;
  double first, second;
};

struct Data {  // one row for each model, `stride` numbers apart
  const double* values;
  int64_t stride;
};

struct Tasks {  // of the points of each model, `stride` numbers apart
  const int64_t* values;
  int64_t stride;
};

struct Model {
  int64_t num_points, num_columns;
  int64_t num_nodes, num_groups, num_priors;
  const Node* nodes;
  const int64_t* children;
  const Group* groups;
  const PriorOf* priors;
  double prior_constant;
  Data targets;  // n
  Data noise;    // n; null where it is a parameter
  Data inputs;   // n x d, of a linear mean and before warping
  Tasks tasks;   // null where there is one
  Data warped;   // n x d, before warping; null where nothing is warped
  // Of c_1 of each input, then of c_0; -1 for none.
  const int64_t* concentrations;
  int64_t weights_column, num_inputs;
  // Of each task; null for known noise, and for no constant mean.
  const int64_t *noise_columns, *mean_columns;
  int64_t criterion;
  double doubt;  // a pivot below this share of the largest entry is mostly rounding
};

}  // extern "C"

namespace {

// Cholesky factor and inverse of a matrix of a few hundred rows. All of it is 8 x 8 sums
// of products of rows of two matrices, with the sums in registers: LAPACK is made for
// larger ones.
class Cholesky {
 public:
  explicit Cholesky(int64_t n)
      : size_((n + WIDTH - 1) / WIDTH * WIDTH),
        // An odd number of cache lines: rows are then spread over the whole cache.
        stride_(size_ + (size_ / WIDTH % 2 ? 0 : WIDTH)),
        memory_(2 * size_ * stride_ + size_ + WIDTH) {
    const auto address = reinterpret_cast<uintptr_t>(memory_.data());
    factor_ = memory_.data() + (64 - address % 64) % 64 / sizeof(double);
    root_ = factor_ + size_ * stride_;
    reciprocal_ = root_ + size_ * stride_;
  }

  int64_t size() const { return size_; }
  int64_t stride() const { return stride_; }
  double log_det() const { return log_det_; }

  // The smallest squared pivot of the factor of a symmetric matrix, given by the rows of
  // its lower triangle; not positive if there is no factor.
  double factorize(const double* matrix, int64_t n) {
    // The factor is kept by columns: L_rc at [c * stride + r].
    for (int64_t i = 0; i < size_; ++i) {
      for (int64_t j = 0; j < i; ++j)
        factor_[j * stride_ + i] = i < n ? matrix[i * stride_ + j] : 0;
      factor_[i * stride_ + i] = i < n ? matrix[i * stride_ + i] : 1;
    }
    double smallest = std::numeric_limits<double>::infinity();
    log_det_ = 0;
    for (int64_t c = 0; c < size_; c += WIDTH) {
      for (int64_t r = c; r < size_; r += WIDTH) {
        Block sums;
        for (int64_t q = 0; q < WIDTH; ++q) load(sums[q], factor_ + (c + q) * stride_ + r);
        add_products<-1>(sums, factor_ + r, factor_ + c, 0, c);
        for (int64_t q = 0; q < WIDTH; ++q) {
          if (r == c) {
            const double pivot = sums[q][q];
            if (!(pivot > 0)) return -1;
            if (c + q < n) smallest = std::min(smallest, pivot);
            log_det_ += std::log(pivot);
            reciprocal_[c + q] = 1 / std::sqrt(pivot);
          }
          double* column = factor_ + (c + q) * stride_;
          scale(sums[q], reciprocal_[c + q]);
          store(column + r, sums[q]);
          for (int64_t p = q + 1; p < WIDTH; ++p)
            subtract(sums[p], column[c + p], sums[q]);
        }
      }
    }
    return smallest;
  }

  // Writes the rows of the lower triangle of the inverse (and all its diagonal blocks).
  void invert(double* matrix) {
    // The inverse of the factor is kept by rows: W_rc at [r * stride + c].
    for (int64_t r = 0; r < size_; r += WIDTH) {
      for (int64_t c = 0; c <= r; c += WIDTH) {
        Block sums = {};
        for (int64_t q = 0; r == c && q < WIDTH; ++q) sums[q][q] = 1;
        add_products<-1>(sums, root_ + c, factor_ + r, c, r);
        for (int64_t q = 0; q < WIDTH; ++q) {
          const double* column = factor_ + (r + q) * stride_ + r;
          scale(sums[q], reciprocal_[r + q]);
          for (int64_t p = q + 1; p < WIDTH; ++p) subtract(sums[p], column[p], sums[q]);
          store(root_ + (r + q) * stride_ + c, sums[q]);
        }
      }
    }
    for (int64_t r = 0; r < size_; r += WIDTH) {
      for (int64_t c = 0; c <= r; c += WIDTH) {
        Block sums = {};
        add_products<1>(sums, root_ + c, root_ + r, r, size_);
        for (int64_t q = 0; q < WIDTH; ++q) store(matrix + (r + q) * stride_ + c, sums[q]);
      }
    }
  }

  // Writes Q diag(s)^2 Q over a symmetric matrix Q, both by the rows of their lower
  // triangles, of which n are meant; s are the `roots`.
  void square(double* matrix, const double* roots, int64_t n) {
    for (int64_t k = 0; k < size_; ++k) {
      for (int64_t c = 0; c <= k; ++c) {
        const double own = matrix[k * stride_ + c];
        root_[k * stride_ + c] = k < n ? roots[k] * own : 0;
        root_[c * stride_ + k] = k < n ? roots[c] * own : 0;
      }
    }
    for (int64_t r = 0; r < size_; r += WIDTH) {
      for (int64_t c = 0; c <= r; c += WIDTH) {
        Block sums = {};
        add_products<1>(sums, root_ + c, root_ + r, 0, n);
        for (int64_t q = 0; q < WIDTH; ++q) store(matrix + (r + q) * stride_ + c, sums[q]);
      }
    }
  }

 private:
  static constexpr int64_t WIDTH = 8;
#if defined(__AVX512F__)
  static constexpr int64_t LANES = 8;
#elif defined(__AVX__)
  static constexpr int64_t LANES = 4;
#else
  static constexpr int64_t LANES = 2;
#endif
  static constexpr int64_t PARTS = WIDTH / LANES;
  typedef double Lanes __attribute__((vector_size(8 * LANES)));
  using Row = double[WIDTH];
  using Block = Row[WIDTH];

  static void load(Row& row, const double* from) { std::memcpy(row, from, sizeof row); }
  static void store(double* to, const Row& row) { std::memcpy(to, row, sizeof row); }
  static Lanes lanes(const double* row, int64_t part) {
    Lanes found;
    std::memcpy(&found, row + part * LANES, sizeof found);
    return found;
  }
  static void scale(Row& row, double factor) {
    for (int64_t i = 0; i < WIDTH; ++i) row[i] *= factor;
  }
  static void subtract(Row& row, double factor, const Row& other) {
    for (int64_t i = 0; i < WIDTH; ++i) row[i] -= factor * other[i];
  }

  // sums[q] += sign * sum_k left[k * stride ...] * right[k * stride + q]
  template <int sign>
  __attribute__((noinline))  // compilers then keep the sums in registers
  void add_products(Block& sums, const double* left, const double* right, int64_t begin,
                    int64_t end) const {
    // By name, since compilers keep arrays of sums in memory.
    for (int64_t q = 0; q < WIDTH; q += WIDTH / PARTS) {
      double* own = sums[q];
      Lanes s0 = lanes(own, 0), s1 = lanes(own, 1), s2 = lanes(own, 2);
      Lanes s3 = lanes(own, 3), s4 = lanes(own, 4), s5 = lanes(own, 5);
      Lanes s6 = lanes(own, 6), s7 = lanes(own, 7);
      for (int64_t k = begin; k < end; ++k) {
        const double* by = right + k * stride_ + q;
        const double* row = left + k * stride_;
        s0 += sign * (lanes(row, 0 % PARTS) * by[0 / PARTS]);
        s1 += sign * (lanes(row, 1 % PARTS) * by[1 / PARTS]);
        s2 += sign * (lanes(row, 2 % PARTS) * by[2 / PARTS]);
        s3 += sign * (lanes(row, 3 % PARTS) * by[3 / PARTS]);
        s4 += sign * (lanes(row, 4 % PARTS) * by[4 / PARTS]);
        s5 += sign * (lanes(row, 5 % PARTS) * by[5 / PARTS]);
        s6 += sign * (lanes(row, 6 % PARTS) * by[6 / PARTS]);
        s7 += sign * (lanes(row, 7 % PARTS) * by[7 / PARTS]);
      }
      const Lanes found[WIDTH] = {s0, s1, s2, s3, s4, s5, s6, s7};
      std::memcpy(own, found, sizeof found);
    }
  }

  const int64_t size_, stride_;
  std::vector<double> memory_;
  double *factor_, *root_, *reciprocal_;
  double log_det_ = 0;
};

class Evaluation {
 public:
  explicit Evaluation(const Model& model)
      : m_(model),
        n_(model.num_points),
        cholesky_(n_),
        stride_(cholesky_.stride()),
        size_(cholesky_.size() * stride_),
        values_(model.num_columns),
        slopes_(model.num_columns),
        residuals_(n_),
        weights_(n_),
        by_residuals_(n_),
        pulls_(m_.criterion == EVIDENCE ? 0 : n_),
        roots_(m_.criterion == EVIDENCE ? 0 : n_),
        inverse_(size_),
        states_(model.num_nodes),
        weighted_(stride_),
        inputs_(m_.warped.values ? 4 * m_.num_inputs * stride_ : 0) {
    for (int64_t i = 0; i < model.num_nodes; ++i) {
      const Node& node = model.nodes[i];
      State& state = states_[i];
      if (node.kind < SCALE) {
        const int64_t padded = (node.num_features + BLOCK - 1) / BLOCK * BLOCK;
        state.z.resize(padded * stride_);  // zeros where there is no feature
        state.by_feature.resize(padded);
        state.slope.resize(size_);
      }
      if (node.kind != SCALE && node.kind != EXPONENTIAL && node.kind != RBF)
        state.own.resize(size_);
      if (node.kind == PRODUCT) state.inner.resize(size_);
      if (node.kind == INDEX) {
        state.between.resize(node.num_tasks * node.num_tasks);
        state.by_between.resize(node.num_tasks * node.num_tasks);
      }
      state.shares.resize(node.num_children);
    }
  }

  Outcome operator()(const double* theta, int64_t model, double* loss, double* gradient) {
    transform(theta);
    if (m_.warped.values) warp(model);
    const int64_t root = m_.num_nodes - 1;
    for (int64_t i = 0; i <= root; ++i) forward(i, model);
    set_residuals(model);
    if (!invert(root, model)) return SINGULAR;
    if (m_.criterion == EVIDENCE)
      evidence();
    else
      leave_one_out();
    if (!std::isfinite(loss_)) return SINGULAR;
    std::fill(gradient, gradient + m_.num_columns, 0.0);
    for (int64_t i = 0; i < n_; ++i) {
      const int64_t task = task_of(model, i);
      if (m_.noise_columns) gradient[m_.noise_columns[task]] += inverse_[i * stride_ + i];
      if (m_.mean_columns) gradient[m_.mean_columns[task]] -= by_residuals_[i];
    }
    if (m_.weights_column >= 0) {
      const double* X = m_.inputs.values + model * m_.inputs.stride;
      for (int64_t i = 0; i < n_; ++i)
        for (int64_t k = 0; k < m_.num_inputs; ++k)
          gradient[m_.weights_column + k] -= by_residuals_[i] * X[i * m_.num_inputs + k];
    }
    backward(root, inverse_.data(), 1.0, false, gradient);
    if (m_.warped.values) warp_backward(gradient);
    *loss = loss_;
    add_priors(loss, gradient);
    for (int64_t k = 0; k < m_.num_columns; ++k) gradient[k] *= slopes_[k] / n_;
    *loss /= n_;
    return FOUND;
  }

 private:
  struct State {
    double* result = nullptr;  // covariances, still to be multiplied by `scale`
    double scale = 1, scale_of_target = 1;
    std::vector<double> own, slope, inner, z, by_feature;
    std::vector<double> shares;  // weights of children, then sums over them
    std::vector<double> between, by_between;  // covariances of tasks
  };

  void transform(const double* theta) {
    std::copy(theta, theta + m_.num_columns, values_.begin());
    std::fill(slopes_.begin(), slopes_.end(), 1.0);
    for (int64_t g = 0; g < m_.num_groups; ++g) {
      const Group& group = m_.groups[g];
      for (int64_t k = group.begin; k < group.end; ++k) {
        const double share = sigmoid(theta[k]);
        if (group.kind == SOFTPLUS) {
          values_[k] = softplus(theta[k]) + group.low;
          slopes_[k] = share;
        } else if (group.kind == EXP) {
          values_[k] = slopes_[k] = std::exp(theta[k]);
        } else {
          values_[k] = group.low + (group.high - group.low) * share;
          slopes_[k] = (group.high - group.low) * share * (1 - share);
        }
      }
    }
  }

  void add_priors(double* loss, double* gradient) const {
    *loss -= m_.prior_constant;
    for (int64_t i = 0; i < m_.num_priors; ++i) {
      const PriorOf& prior = m_.priors[i];
      const double x = values_[prior.column];
      const double first = prior.first, second = prior.second, log = std::log(x);
      double term, slope;
      if (prior.kind == NORMAL) {
        term = first * x + second * x * x;
        slope = first + 2 * second * x;
      } else if (prior.kind == GAMMA) {
        term = first * log + second * x;
        slope = first / x + second;
      } else if (prior.kind == LOG_NORMAL) {
        term = first * log + second * log * log;
        slope = (first + 2 * second * log) / x;
      } else {
        term = first * log + second * std::log1p(-x);
        slope = first / x - second / (1 - x);
      }
      *loss -= term;
      gradient[prior.column] -= slope;
    }
  }

  // Of input k: its values, its derivatives by c_1 and c_0, and that of the loss by it.
  double* input(int64_t part, int64_t k) {
    return &inputs_[(part * m_.num_inputs + k) * stride_];
  }

  // x' = 1 - (1 - x^c1)^c0
  void warp(int64_t model) {
    const int64_t d = m_.num_inputs;
    const double* X = m_.warped.values + model * m_.warped.stride;
    std::fill(input(3, 0), input(3, 0) + d * stride_, 0.0);
    for (int64_t k = 0; k < d; ++k) {
      double *warped = input(0, k), *by_first = input(1, k), *by_second = input(2, k);
      if (m_.concentrations[k] < 0) {
        for (int64_t i = 0; i < n_; ++i) warped[i] = X[i * d + k];
        continue;
      }
      const double first = values_[m_.concentrations[k]];
      const double second = values_[m_.concentrations[d + k]];
      for (int64_t i = 0; i < n_; ++i) {
        const double log = std::log(X[i * d + k]);
        const double power = std::exp(first * log), rest = 1 - power;
        // Rounded as BoTorch does it: where c0 is huge, log1p(-power) would find
        // optima that its models do not have.
        const double log_rest = std::log(rest);
        const double left = std::exp(second * log_rest);
        warped[i] = 1 - left;
        by_second[i] = left > 0 ? -left * log_rest : 0.0;
        by_first[i] = left > 0 ? left * second / rest * power * log : 0.0;
      }
    }
  }

  void warp_backward(double* gradient) {
    const int64_t d = m_.num_inputs;
    for (int64_t k = 0; k < d; ++k) {
      if (m_.concentrations[k] < 0) continue;
      const double *by = input(3, k), *by_first = input(1, k), *by_second = input(2, k);
      for (int64_t i = 0; i < n_; ++i) {
        gradient[m_.concentrations[k]] += by[i] * by_first[i];
        gradient[m_.concentrations[d + k]] += by[i] * by_second[i];
      }
    }
  }

  int64_t task_of(int64_t model, int64_t i) const {
    return m_.tasks.values ? m_.tasks.values[model * m_.tasks.stride + i] : 0;
  }

  void set_residuals(int64_t model) {
    const double* targets = m_.targets.values + model * m_.targets.stride;
    for (int64_t i = 0; i < n_; ++i) {
      residuals_[i] = targets[i];
      if (m_.mean_columns) residuals_[i] -= values_[m_.mean_columns[task_of(model, i)]];
    }
    if (m_.weights_column < 0) return;
    const double* X = m_.inputs.values + model * m_.inputs.stride;
    for (int64_t i = 0; i < n_; ++i)
      for (int64_t k = 0; k < m_.num_inputs; ++k)
        residuals_[i] -= X[i * m_.num_inputs + k] * values_[m_.weights_column + k];
  }

  // Inverse of the covariance with noise, and its product with the residuals; false
  // where there is none, or rounding decides it.
  bool invert(int64_t root, int64_t model) {
    const State& kernel = states_[root];
    const double* noise =
        m_.noise.values ? m_.noise.values + model * m_.noise.stride : nullptr;
    double largest = 0;
    for (int64_t i = 0; i < n_; ++i) {
      const double* from = kernel.result + i * stride_;
      double* row = &inverse_[i * stride_];
      for (int64_t j = 0; j <= i; ++j) row[j] = kernel.scale * from[j];
      row[i] += noise ? noise[i] : values_[m_.noise_columns[task_of(model, i)]];
      largest = std::max(largest, row[i]);
    }
    if (!(largest < std::numeric_limits<double>::infinity())) return false;
    const double smallest = cholesky_.factorize(inverse_.data(), n_);
    if (!(smallest >= m_.doubt * largest)) return false;
    cholesky_.invert(inverse_.data());
    multiply(residuals_, weights_);
    return true;
  }

  // Product of the inverse and a vector.
  void multiply(const std::vector<double>& vector, std::vector<double>& product) const {
    std::fill(product.begin(), product.end(), 0.0);
    for (int64_t i = 0; i < n_; ++i) {
      const double* row = &inverse_[i * stride_];
      const double own = vector[i];
      double sum = 0;
#pragma omp simd reduction(+ : sum)
      for (int64_t j = 0; j < i; ++j) {
        sum += row[j] * vector[j];
        product[j] += row[j] * own;
      }
      product[i] += sum + row[i] * own;
    }
  }

  // These write the loss, its derivatives by the residuals, and over the inverse those
  // by the covariance, of which every entry beside the diagonal stands for two.
  void evidence() {
    double quadratic = 0;
    for (int64_t i = 0; i < n_; ++i) quadratic += residuals_[i] * weights_[i];
    loss_ = 0.5 * (quadratic + cholesky_.log_det() + n_ * std::log(2 * PI));
    by_residuals_ = weights_;
    for (int64_t i = 0; i < n_; ++i) {
      double* row = &inverse_[i * stride_];
      const double weight = weights_[i];
      for (int64_t j = 0; j < i; ++j) row[j] -= weight * weights_[j];
      row[i] = 0.5 * (row[i] - weight * weight);
    }
  }

  void leave_one_out() {
    loss_ = 0;
    for (int64_t i = 0; i < n_; ++i) {
      const double variance = 1 / inverse_[i * stride_ + i];
      const double error = weights_[i] * variance;
      if (m_.criterion == LEAVE_ONE_OUT_LOG_DENSITY) {
        loss_ += 0.5 * (error * weights_[i] + std::log(2 * PI * variance));
        pulls_[i] = error;
        roots_[i] = std::sqrt(0.5 * (error * error + variance));
        continue;
      }
      const double deviation = std::sqrt(variance), z = error / deviation;
      const double central = std::erf(z / std::sqrt(2.0));
      const double density = std::exp(-0.5 * z * z) / std::sqrt(2 * PI);
      const double spread = deviation * (2 * density - 1 / std::sqrt(PI));
      loss_ += error * central + spread;
      pulls_[i] = variance * central;
      roots_[i] = std::sqrt(variance * (error * central + 0.5 * spread));
    }
    if (m_.criterion == LEAVE_ONE_OUT_CRPS) {
      const double mean = loss_ / n_, root = std::sqrt(mean);
      loss_ = n_ * std::log(mean);
      for (int64_t i = 0; i < n_; ++i) {
        pulls_[i] /= mean;
        roots_[i] /= root;
      }
    }
    multiply(pulls_, by_residuals_);
    cholesky_.square(inverse_.data(), roots_.data(), n_);
    for (int64_t i = 0; i < n_; ++i) {
      double* row = &inverse_[i * stride_];
      const double weight = weights_[i], by = by_residuals_[i];
      for (int64_t j = 0; j < i; ++j)
        row[j] = 2 * row[j] - (by * weights_[j] + weight * by_residuals_[j]);
      row[i] -= by * weight;
    }
  }

  void forward(int64_t i, int64_t model) {
    const Node& node = m_.nodes[i];
    State& state = states_[i];
    const int64_t* children = m_.children + node.first_child;
    state.scale = 1;
    if (node.kind < SCALE) {
      load_features(node, state, model);
      if (node.kind < PERIODIC)
        of_distance(node, state);
      else if (node.kind == INDEX)
        of_index(node, state);
      else
        of_inputs(node, state);
    } else if (node.kind == SCALE) {
      const State& child = states_[children[0]];
      state.result = child.result;
      state.scale = child.scale * values_[node.column];
    } else if (node.kind == MIXTURE) {
      double left = 1;
      for (int64_t c = 0; c < node.num_children; ++c) {
        double share = 1;
        if (node.column >= 0) {
          const bool is_last = c + 1 == node.num_children;
          const double fraction = is_last ? 1.0 : values_[node.column + c];
          share = left * fraction;
          left *= 1 - fraction;
        }
        state.shares[c] = share;
        const State& child = states_[children[c]];
        const double times = share * child.scale;
        for_rows([&](int64_t at, int64_t end) {
          double* own = &state.own[at];
          const double* from = child.result + at;
          if (c == 0)
            for (int64_t j = 0; j < end; ++j) own[j] = times * from[j];
          else
            for (int64_t j = 0; j < end; ++j) own[j] += times * from[j];
        });
      }
      state.result = state.own.data();
    } else {
      for (int64_t c = 0; c < node.num_children; ++c) {
        const State& child = states_[children[c]];
        state.scale *= child.scale;
        for_rows([&](int64_t at, int64_t end) {
          double* own = &state.own[at];
          const double* from = child.result + at;
          if (c == 0)
            for (int64_t j = 0; j < end; ++j) own[j] = from[j];
          else
            for (int64_t j = 0; j < end; ++j) own[j] *= from[j];
        });
      }
      state.result = state.own.data();
    }
  }

  // The number by which a feature is multiplied.
  double times(const Node& node, int64_t k) const {
    if (node.kind == PERIODIC)
      return PI / values_[node.other_column + k * node.other_per_feature];
    if (node.kind >= LINEAR) return 1;
    const double lengthscale = values_[node.column + node.owners[k]];
    return node.kind == EXPONENTIAL ? std::sqrt(node.factor / lengthscale)
                                    : std::sqrt(node.factor) / lengthscale;
  }

  void load_features(const Node& node, State& state, int64_t model) {
    const double* features = node.features + model * node.model_stride;
    for (int64_t k = 0; k < node.num_features; ++k) {
      const double by = times(node, k);
      if (node.inputs) {
        const double* warped = input(0, node.inputs[k]);
        for (int64_t i = 0; i < n_; ++i) state.z[k * stride_ + i] = warped[i] * by;
        continue;
      }
      for (int64_t i = 0; i < n_; ++i)
        state.z[k * stride_ + i] = features[i * node.point_stride + k] * by;
    }
  }

  void of_inputs(const Node& node, State& state) {
    state.result = state.own.data();
    for (int64_t i = 0; i < n_; ++i) {
      double* result = state.result + i * stride_;
      double* slope = &state.slope[i * stride_];
      std::fill(result, result + i + 1, 0.0);
      for (int64_t k = 0; k < node.num_features; ++k) {
        const double* z = &state.z[k * stride_];
        const double own = z[i];
        if (node.kind == PERIODIC) {
          const double by = -2 / values_[node.column + node.owners[k]];
          for (int64_t j = 0; j <= i; ++j) {
            const double sine = std::sin(own - z[j]);
            result[j] += by * (sine * sine);
          }
        } else {
          const double by =
              node.kind == LINEAR ? own * values_[node.column + node.owners[k]] : own;
#pragma omp simd
          for (int64_t j = 0; j <= i; ++j) result[j] += by * z[j];
        }
      }
      if (node.kind == PERIODIC) {
#pragma omp simd
        for (int64_t j = 0; j <= i; ++j) result[j] = exp_of_negative(result[j]);
      } else if (node.kind == POLYNOMIAL) {
        for (int64_t j = 0; j <= i; ++j) {
          const double base = result[j] + values_[node.other_column];
          slope[j] = node.factor * std::pow(base, node.factor - 1);
          result[j] = std::pow(base, node.factor);
        }
      }
    }
  }

  void of_inputs_backward(const Node& node, const State& state, const double* outer,
                          double scale, double* gradient) const {
    for (int64_t i = 0; i < n_; ++i) {
      const double* from = outer + i * stride_;
      const double* result = state.result + i * stride_;
      const double* slope = &state.slope[i * stride_];
      if (node.kind == POLYNOMIAL) {
        double sum = 0;
        for (int64_t j = 0; j <= i; ++j) sum += from[j] * slope[j];
        gradient[node.other_column] += scale * sum;
        continue;
      }
      for (int64_t k = 0; k < node.num_features; ++k) {
        const double* z = &state.z[k * stride_];
        const double own = z[i];
        const int64_t column = node.column + node.owners[k];
        double sum = 0;
        if (node.kind == LINEAR) {
#pragma omp simd reduction(+ : sum)
          for (int64_t j = 0; j <= i; ++j) sum += from[j] * z[j];
          gradient[column] += scale * own * sum;
          continue;
        }
        const int64_t other = node.other_column + k * node.other_per_feature;
        double by_period = 0;
        for (int64_t j = 0; j < i; ++j) {
          const double gap = own - z[j], sine = std::sin(gap), cosine = std::cos(gap);
          const double weighted = from[j] * result[j];
          sum += weighted * (sine * sine);
          by_period += weighted * (sine * cosine) * gap;
        }
        const double lengthscale = values_[column];
        gradient[column] += scale * 2 * sum / (lengthscale * lengthscale);
        gradient[other] += scale * 4 * by_period / (lengthscale * values_[other]);
      }
    }
  }

  void of_index(const Node& node, State& state) {
    state.result = state.own.data();
    const int64_t count = node.num_tasks;
    const double* F = &values_[node.other_column];
    std::vector<double>& B = state.between;
    for (int64_t s = 0; s < count; ++s)
      for (int64_t t = 0; t < count; ++t) {
        double sum = s == t ? values_[node.column + s] : 0.0;
        for (int64_t r = 0; r < node.rank; ++r)
          sum += F[s * node.rank + r] * F[t * node.rank + r];
        B[s * count + t] = sum;
      }
    state.scale_of_target = node.target < 0 ? 1.0 : B[node.target * (count + 1)];
    for (double& each : B) each /= state.scale_of_target;
    const double* task = state.z.data();
    for_rows([&](int64_t at, int64_t end) {
      const auto own = static_cast<int64_t>(task[end - 1]) * count;
      for (int64_t j = 0; j < end; ++j)
        state.own[at + j] = B[own + static_cast<int64_t>(task[j])];
    });
  }

  void of_index_backward(const Node& node, State& state, const double* outer,
                         double scale, double* gradient) {
    const int64_t count = node.num_tasks;
    const double* F = &values_[node.other_column];
    std::vector<double>& by = state.by_between;
    std::fill(by.begin(), by.end(), 0.0);
    const double* task = state.z.data();
    for_rows([&](int64_t at, int64_t end) {
      const auto own = static_cast<int64_t>(task[end - 1]) * count;
      for (int64_t j = 0; j < end; ++j)
        by[own + static_cast<int64_t>(task[j])] += scale * outer[at + j];
    });
    double total = 0;
    for (size_t k = 0; k < by.size(); ++k) total += by[k] * state.between[k];
    if (node.target >= 0) by[node.target * (count + 1)] -= total;
    for (double& each : by) each /= state.scale_of_target;
    for (int64_t s = 0; s < count; ++s) {
      gradient[node.column + s] += by[s * (count + 1)];
      for (int64_t r = 0; r < node.rank; ++r) {
        double sum = 0;
        for (int64_t t = 0; t < count; ++t)
          sum += (by[s * count + t] + by[t * count + s]) * F[t * node.rank + r];
        gradient[node.other_column + s * node.rank + r] += sum;
      }
    }
  }

  void of_distance(const Node& node, State& state) {
    const int64_t d = node.num_features;
    const bool is_one = node.kind == EXPONENTIAL || node.kind == RBF;
    state.result = is_one ? state.slope.data() : state.own.data();
    for (int64_t i = 0; i < n_; ++i) {
      double* slope = &state.slope[i * stride_];
      double* result = state.result + i * stride_;
      std::fill(slope, slope + i + 1, 0.0);
      for (int64_t k = 0; k < d; k += BLOCK) {
        const double *z0 = &state.z[k * stride_], *z1 = z0 + stride_,
                     *z2 = z1 + stride_, *z3 = z2 + stride_;
        const double own0 = z0[i], own1 = z1[i], own2 = z2[i], own3 = z3[i];
#pragma omp simd
        for (int64_t j = 0; j < i; ++j) {
          const double by0 = own0 - z0[j], by1 = own1 - z1[j], by2 = own2 - z2[j],
                       by3 = own3 - z3[j];
          slope[j] += (by0 * by0 + by1 * by1) + (by2 * by2 + by3 * by3);
        }
      }
      switch (node.kind) {
        case EXPONENTIAL:
        case RBF:
#pragma omp simd
          for (int64_t j = 0; j < i; ++j) slope[j] = exp_of_negative(-slope[j]);
          break;
        case MATERN12:
#pragma omp simd
          for (int64_t j = 0; j < i; ++j) {
            const double root = std::sqrt(slope[j]);
            result[j] = exp_of_negative(-root);
            slope[j] = root > 0 ? result[j] / root : 0.0;
          }
          break;
        case MATERN32:
#pragma omp simd
          for (int64_t j = 0; j < i; ++j) {
            const double root = std::sqrt(slope[j]);
            slope[j] = exp_of_negative(-root);
            result[j] = slope[j] + root * slope[j];
          }
          break;
        case RATIONAL_QUADRATIC: {
          const double exponent = values_[node.other_column];
          for (int64_t j = 0; j < i; ++j) {
            const double base = 1 + slope[j] / (2 * exponent);
            result[j] = std::exp(-exponent * std::log(base));
            slope[j] = result[j] / base;
          }
          break;
        }
        default:
#pragma omp simd
          for (int64_t j = 0; j < i; ++j) {
            const double square = slope[j], root = std::sqrt(square);
            const double decay = exp_of_negative(-root);
            slope[j] = decay + root * decay;
            result[j] = slope[j] + square * decay * (1.0 / 3.0);
          }
      }
      result[i] = 1;
      slope[i] = node.kind == MATERN12 ? 0.0 : 1.0;
    }
  }

  // Sum of `outer` times the node's result and scale, if wanted; see nodes.py.
  double backward(int64_t i, const double* outer, double scale, bool want_total,
                  double* gradient) {
    const Node& node = m_.nodes[i];
    State& state = states_[i];
    const int64_t* children = m_.children + node.first_child;
    double total = 0;
    if (node.kind < SCALE) {
      if (node.kind < PERIODIC)
        of_distance_backward(node, state, outer, scale, gradient);
      else if (node.kind == INDEX)
        of_index_backward(node, state, outer, scale, gradient);
      else
        of_inputs_backward(node, state, outer, scale, gradient);
      if (want_total)
        for_rows([&](int64_t at, int64_t end) {
          const double *from = outer + at, *result = state.result + at;
          double sum = 0;
#pragma omp simd reduction(+ : sum)
          for (int64_t j = 0; j < end; ++j) sum += from[j] * result[j];
          total += sum;
        });
      return total;
    }
    if (node.kind == SCALE) {
      const double own = values_[node.column];
      total = backward(children[0], outer, scale * own, true, gradient);
      gradient[node.column] += total * scale;
      return total * own;
    }
    if (node.kind == MIXTURE) {
      const bool is_weighted = node.column >= 0;
      std::vector<double>& shares = state.shares;
      for (int64_t c = 0; c < node.num_children; ++c) {
        const double share = shares[c];
        const double found = backward(children[c], outer, scale * share,
                                      is_weighted || want_total, gradient);
        total += found * share;
        shares[c] = found * share * scale;
      }
      double after = 0;
      for (int64_t c = node.num_children - 1; is_weighted && c >= 0; --c) {
        if (c + 1 < node.num_children) {
          const double fraction = values_[node.column + c];
          gradient[node.column + c] += shares[c] / fraction - after / (1 - fraction);
        }
        after += shares[c];
      }
      return total;
    }
    for (int64_t c = 0; c < node.num_children; ++c) {
      double carried = scale;
      bool is_first = true;
      for (int64_t e = 0; e < node.num_children; ++e) {
        if (e == c) continue;
        const State& other = states_[children[e]];
        carried *= other.scale;
        const double* source = is_first ? outer : state.inner.data();
        is_first = false;
        for_rows([&](int64_t at, int64_t end) {
          double* inner = &state.inner[at];
          const double *from = source + at, *by = other.result + at;
          for (int64_t j = 0; j < end; ++j) inner[j] = from[j] * by[j];
        });
      }
      const bool want = want_total && c + 1 == node.num_children;
      total = backward(children[c], state.inner.data(), carried, want, gradient);
      if (want)
        for (int64_t e = 0; e + 1 < node.num_children; ++e)
          total *= states_[children[e]].scale;
    }
    return total;
  }

  void of_distance_backward(const Node& node, State& state, const double* outer,
                            double scale, double* gradient) {
    const int64_t d = node.num_features;
    const bool is_one = node.kind == EXPONENTIAL || node.kind == RBF;
    const double share = node.kind == MATERN52 ? 1.0 / 3.0 : is_one ? 2.0 : 1.0;
    std::fill(state.by_feature.begin(), state.by_feature.end(), 0.0);
    for (int64_t i = 0; i < n_; ++i) {
      const double* slope = &state.slope[i * stride_];
      const double* from = outer + i * stride_;
      double* weighted = weighted_.data();
#pragma omp simd
      for (int64_t j = 0; j < i; ++j) weighted[j] = from[j] * slope[j];
      for (int64_t k = 0; k < d; k += BLOCK) {
        const double *z0 = &state.z[k * stride_], *z1 = z0 + stride_,
                     *z2 = z1 + stride_, *z3 = z2 + stride_;
        const double own0 = z0[i], own1 = z1[i], own2 = z2[i], own3 = z3[i];
        double sum0 = 0, sum1 = 0, sum2 = 0, sum3 = 0;
#pragma omp simd reduction(+ : sum0, sum1, sum2, sum3)
        for (int64_t j = 0; j < i; ++j) {
          const double by0 = own0 - z0[j], by1 = own1 - z1[j], by2 = own2 - z2[j],
                       by3 = own3 - z3[j];
          sum0 += weighted[j] * (by0 * by0);
          sum1 += weighted[j] * (by1 * by1);
          sum2 += weighted[j] * (by2 * by2);
          sum3 += weighted[j] * (by3 * by3);
        }
        double* by_feature = &state.by_feature[k];
        by_feature[0] += sum0;
        by_feature[1] += sum1;
        by_feature[2] += sum2;
        by_feature[3] += sum3;
      }
      for (int64_t k = 0; node.inputs && k < d; ++k) {
        const double* z = &state.z[k * stride_];
        const double own = z[i], by = -scale * share * times(node, k);
        double* by_input = input(3, node.inputs[k]);
        double sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t j = 0; j < i; ++j) {
          const double pull = by * weighted[j] * (own - z[j]);
          sum += pull;
          by_input[j] -= pull;
        }
        by_input[i] += sum;
      }
    }
    const double power = node.kind == EXPONENTIAL ? 1 : 2;
    for (int64_t k = 0; k < d; ++k) {
      const int64_t column = node.column + node.owners[k];
      gradient[column] +=
          0.5 * state.by_feature[k] * share * power * scale / values_[column];
    }
    if (node.kind != RATIONAL_QUADRATIC) return;
    for_rows([&](int64_t at, int64_t end) {
      const double *from = outer + at, *result = state.result + at;
      const double* slope = &state.slope[at];
      double sum = 0;
      for (int64_t j = 0; j + 1 < end; ++j) {
        if (!(slope[j] > 0)) continue;  // so far apart that all of it is zero
        const double base = result[j] / slope[j];
        sum += from[j] * result[j] * (1 - 1 / base - std::log(base));
      }
      gradient[node.other_column] += scale * sum;
    });
  }

  template <typename Each>
  void for_rows(Each each) const {
    for (int64_t i = 0; i < n_; ++i) each(i * stride_, i + 1);
  }

  const Model& m_;
  const int64_t n_;
  Cholesky cholesky_;
  const int64_t stride_, size_;
  std::vector<double> values_, slopes_, residuals_, weights_;
  std::vector<double> by_residuals_, pulls_, roots_, inverse_;
  std::vector<State> states_;
  std::vector<double> weighted_;  // one row
  std::vector<double> inputs_;    // that are warped, see `input`
  double loss_ = 0;
};

}  // namespace

extern "C" {

// What evaluates models of this structure, in one thread at a time. The structure and
// all that it points to must stay.
void* fused_new(const Model* model) { return new Evaluation(*model); }

void fused_delete(void* evaluation) { delete static_cast<Evaluation*>(evaluation); }

// Losses per point, `count`, and gradients by `theta`, both `count x p`; `outcomes` says
// where there are none.
void fused_evaluate(void* evaluation, int64_t count, int64_t num_columns,
                    const double* theta, const int64_t* models, double* losses,
                    double* gradients, int64_t* outcomes) {
  Evaluation& evaluate = *static_cast<Evaluation*>(evaluation);
  for (int64_t a = 0; a < count; ++a)
    outcomes[a] = evaluate(theta + a * num_columns, models[a], losses + a,
                           gradients + a * num_columns);
}

}  // extern "C"
