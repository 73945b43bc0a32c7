"""Writes stats.json: inputs and expected values for the fixed cases of src/stats.

    python3 -m venv /tmp/reference
    /tmp/reference/bin/pip install numpy==2.4.6 scipy==1.17.1 statsmodels==0.15.0
    /tmp/reference/bin/python tests/reference/stats.py > tests/reference/stats.json

Deterministic: the same versions write the same bytes. Where a library has the method, the library
computes it; where none has, the definition is written out in the most direct way (every Walsh
average, every permutation) and says so.
"""
import itertools
import json
import math
import platform

import numpy as np
import scipy
import statsmodels
from scipy import stats
from scipy.stats._mannwhitneyu import _MWU
from scipy.stats._wilcoxon import WilcoxonDistribution
from statsmodels.stats.multitest import multipletests

rng = np.random.default_rng(20260101)
cases = {}


def case(method, **fields):
    cases.setdefault(method, []).append(
        {k: v.tolist() if isinstance(v, (np.ndarray, np.generic)) else v for k, v in fields.items()})


def clustered(n):
    """A body near 0.6 ms, a cluster near one 4 ms tick, a heavy tail: what launches look like."""
    body = 0.6e6 * np.exp(0.1 * rng.standard_normal(n))
    body = np.where(rng.random(n) < 0.2, 4e6 * np.exp(0.02 * rng.standard_normal(n)), body)
    return np.where(rng.random(n) < 0.02, body * 10, body)


samples = {
    "one": np.array([3.5]),
    "two": np.array([1.0, 4.0]),
    "five": np.array([5.0, 1.0, 4.0, 2.0, 8.0]),
    "ties": np.array([2.0, 2.0, 2.0, 3.0, 3.0, 1.0, 2.0, 5.0, 5.0, 2.5, 2.0]),
    "normal": rng.standard_normal(30),
    "clustered": clustered(101),
    "tiny": rng.standard_normal(9) * 1e-300,
    "huge": rng.standard_normal(12) * 1e299,
}

# --- distributions -------------------------------------------------------------------------
for x in [-30.0, -8.0, -3.2, -3.0, -2.9, -1.0, -1e-9, 0.0, 0.3, 1.96, 2.9999, 3.5, 7.0]:
    case("normal_cdf", x=x, p=stats.norm.cdf(x))
for p in [1e-200, 1e-15, 1e-6, 0.005, 0.025, 0.2, 0.5, 0.8, 0.975, 0.995, 0.999999]:
    case("normal_quantile", p=p, x=stats.norm.ppf(p))
for df in [1, 2, 3, 4, 10, 37, 398, 9998, 1e6]:
    for p in [0.0005, 0.025, 0.3, 0.5, 0.8, 0.975, 0.9995]:
        t = stats.t.ppf(p, df)
        case("t_quantile", p=p, df=df, t=0.0 if p == 0.5 else t)
for n, p in [(1, 0.5), (6, 0.5), (50, 0.01), (400, 0.99), (1000, 0.5), (117000, 0.5), (1000000, 0.99)]:
    for k in sorted({0, n // 4, n // 2 - int(n ** 0.5), n // 2, int(n * p), int(n * p) + 2, n - 1, n}):
        if k >= 0 and stats.binom.cdf(k, n, p) > 1e-250:
            case("binomial_cdf", k=k, n=n, p=p, cdf=stats.binom.cdf(k, n, p))

# --- quantiles: numpy.quantile (method "linear" is type 7), scipy.stats.median_abs_deviation ---
for values in samples.values():
    for p in [0.0, 0.01, 0.25, 0.5, 0.9, 0.99, 1.0]:
        case("quantile", values=values, p=p, quantile=np.quantile(values, p),
             mad=stats.median_abs_deviation(values))

# --- exact interval of a quantile: ranks by linear search over scipy.stats.binom ---------------
for name, values in samples.items():
    for p, level in [(0.5, 0.95), (0.5, 0.99), (0.25, 0.9), (0.9, 0.8), (0.99, 0.95)]:
        n, tail, x = len(values), (1 - level) / 2, np.sort(values)
        low = [j for j in range(1, n + 1) if stats.binom.cdf(j - 1, n, p) <= tail]
        high = [k for k in range(1, n + 1) if stats.binom.sf(k - 1, n, p) <= tail]
        if low and high:
            j, k = max(low), min(high)
            case("quantile_ci", values=values, p=p, level=level, low=x[j - 1], high=x[k - 1],
                 coverage=stats.binom.cdf(k - 1, n, p) - stats.binom.cdf(j - 1, n, p))
        else:
            case("quantile_ci", values=values, p=p, level=level, low=None)

# --- Clopper–Pearson: scipy.stats.binomtest ----------------------------------------------------
for x, n in [(0, 1), (1, 1), (0, 300), (3, 300), (300, 300), (285, 300), (7, 20), (1170, 117000), (999999, 1000000)]:
    for level in [0.9, 0.95, 0.99]:
        ci = stats.binomtest(x, n).proportion_ci(level, method="exact")
        case("clopper_pearson", successes=x, trials=n, level=level, low=ci.low, high=ci.high)

# --- rank distributions: scipy's Wilcoxon; every arrangement for discordant pairs --------------
for n in [1, 5, 6, 20, 50, 120]:
    for t in sorted({0, n, n * (n + 1) // 8, n * (n + 1) // 4}):
        case("signed_rank", n=n, t=t, cdf=float(WilcoxonDistribution(n).cdf(t)))
for groups in [[1, 1, 1], [1] * 5, [1] * 7, [2, 3], [2, 1, 3], [2, 2, 2], [3, 1, 1, 2]]:
    label = [g for g, size in enumerate(groups) for _ in range(size)]
    pairs = [(i, j) for i in range(len(label)) for j in range(i) if label[i] != label[j]]
    counts = [0] * (len(pairs) + 1)
    for order in itertools.permutations(range(len(label))):
        counts[sum(order[i] < order[j] for i, j in pairs)] += 1
    total = sum(counts)
    case("discordant", groups=groups, p=[c / total for c in counts])

# --- Hodges–Lehmann: every Walsh average; ranks from scipy's Wilcoxon distribution --------------
for values in [samples["ties"], samples["normal"], samples["tiny"], samples["huge"],
               np.log(clustered(60) / clustered(60)), np.array([1.0, 2.0, 3.0, 4.0, 5.0, 7.0])]:
    for level in [0.9, 0.95]:
        n = len(values)
        w = np.sort([(a / 2 + b / 2) for i, a in enumerate(values) for b in values[i:]])
        cdf = [float(WilcoxonDistribution(n).cdf(t)) for t in range(n * (n + 1) // 4)]
        r = sum(c <= (1 - level) / 2 for c in cdf)
        case("hodges_lehmann", values=values, level=level, estimate=np.median(w),
             low=w[r - 1], high=w[len(w) - r], coverage=1 - 2 * cdf[r - 1])

# --- paired ratios: numpy for the median and the clip -------------------------------------------
def clipped_values(d):
    m, s = np.median(d), stats.median_abs_deviation(d) / stats.norm.ppf(0.75)
    if s == 0:
        s = np.mean(np.abs(d - m)) * math.sqrt(math.pi / 2)
    return np.clip(d, m - 3 * s, m + 3 * s)


for n, factor in [(6, 2.0), (25, 1.1), (101, 60.0), (40, 1.0)]:
    a, b = clustered(n), clustered(n) * factor
    if n == 40:
        b[:25] = a[:25]
    d = np.sort(np.log(b / a))
    j = max(j for j in range(1, n + 1) if stats.binom.cdf(j - 1, n, 0.5) <= 0.025)
    case("paired", pairs=np.column_stack([a, b]), level=0.95, ratio=np.exp(np.median(d)),
         low=np.exp(d[j - 1]), high=np.exp(d[n - j]), clipped=np.exp(np.mean(clipped_values(d))))

# --- BCa: scipy.stats.bootstrap, given the resamples ---------------------------------------------
for values in [samples["five"], samples["normal"], samples["clustered"]]:
    for statistic in [np.mean, np.median, np.std]:
        for level in [0.9, 0.95]:
            draws = rng.choice(values, (400, len(values)))
            replicates = statistic(draws, axis=1)
            given = stats._resampling.BootstrapResult(None, replicates, None)
            ci = stats.bootstrap((values,), statistic, n_resamples=0, bootstrap_result=given,
                                 confidence_level=level, method="BCa").confidence_interval
            jackknife = [statistic(np.delete(values, i)) for i in range(len(values))]
            case("bca", estimate=statistic(values), replicates=replicates, jackknife=np.array(jackknife),
                 level=level, low=ci.low, high=ci.high)

# --- slopes: scipy.stats.theilslopes and linregress; ends of the Theil–Sen interval from the null
# distribution by every arrangement (small) or the tie-corrected normal approximation (large) ------
def discordant_cdf(x):
    pairs = [(i, j) for i in range(len(x)) for j in range(i) if x[i] != x[j]]
    counts = [0] * (len(pairs) + 1)
    for order in itertools.permutations(range(len(x))):
        counts[sum((order[i] - order[j]) * (x[i] - x[j]) < 0 for i, j in pairs)] += 1
    return np.cumsum(counts) / sum(counts)


def slope_case(x, y, level):
    x, y = np.asarray(x, float), np.asarray(y, float)
    n, tail = len(x), (1 - level) / 2
    slopes = np.sort([(y[i] - y[j]) / (x[i] - x[j]) for i in range(n) for j in range(i) if x[i] != x[j]])
    if n <= 8:
        r = int(np.sum(discordant_cdf(x) <= tail + 1e-12))
    else:
        term = lambda k: k * (k - 1) * (2 * k + 5)
        sd = math.sqrt((term(n) - sum(term(int(k)) for k in np.unique(x, return_counts=True)[1])) / 18) / 2
        r = math.floor(len(slopes) / 2 + 0.5 + stats.norm.ppf(tail) * sd)
    robust = stats.theilslopes(y, x, method="joint")
    fit = stats.linregress(x, y)
    half = stats.t.ppf(1 - tail, n - 2) * fit.stderr
    case("slope", points=np.column_stack([x, y]), level=level,
         theil_sen=robust.slope, theil_sen_intercept=robust.intercept,
         theil_sen_low=slopes[r - 1], theil_sen_high=slopes[len(slopes) - r],
         least_squares=fit.slope, least_squares_intercept=fit.intercept,
         least_squares_low=fit.slope - half, least_squares_high=fit.slope + half)


counts = np.array([1, 2, 4, 8, 16])
slope_case(counts, 68e3 * counts + 3e6 + 5e3 * rng.standard_normal(5), 0.95)
slope_case([0, 1, 2, 3, 4, 5, 6, 7], rng.standard_normal(8), 0.95)
slope_case([1, 1, 2, 2, 4, 4, 8, 8], [10.0, 11, 20.5, 19, 41, 40, 79, 83], 0.95)
x = np.repeat([10, 20, 40, 80, 160, 320, 400], 10)
slope_case(x, 68e3 * x + 1e5 * rng.standard_normal(70), 0.95)
x = rng.random(120)
slope_case(x, 3 * x + rng.standard_cauchy(120), 0.9)

# --- permutation: scipy.stats.permutation_test over every sign -----------------------------------
for d in [np.array([1.0, 2.0, 3.0]), np.array([1.0, -1.0, 2.0, 0.0, 0.5]), samples["normal"][:12],
          np.full(6, 0.25), np.log(clustered(14) * 1.3 / clustered(14)), np.zeros(4)]:
    got = stats.permutation_test((d,), np.mean, permutation_type="samples", n_resamples=np.inf,
                                 alternative="two-sided")
    case("permutation", values=d, p=min(1.0, got.pvalue))

# --- signed ranks: scipy.stats.permutation_test over scipy.stats.rankdata of the magnitudes ------
for d in [np.array([1.0, 2.0, 3.0]), np.array([0.5, -0.25, 2.0, 0.0, 1.5, 0.75]), samples["normal"][:12],
          np.log(clustered(14) * 1.3 / clustered(14))]:
    score = np.sign(d) * stats.rankdata(np.abs(d))
    got = stats.permutation_test((score,), np.sum, permutation_type="samples", n_resamples=np.inf,
                                 alternative="two-sided")
    case("signed_rank_test", values=d, p=min(1.0, got.pvalue))

# --- Holm: statsmodels -----------------------------------------------------------------------------
for p in [[0.01], [0.01, 0.04, 0.03, 0.005], [0.5, 0.9, 0.02, 0.02], [0.0, 1.0, 1e-300, 0.3], list(rng.random(40) ** 4)]:
    case("holm", p=np.array(p), adjusted=multipletests(p, method="holm")[1])

# --- minimum detectable effect: the formula with scipy's t -------------------------------------------
for d in [samples["normal"], np.log(clustered(400) / clustered(400))]:
    for alpha, power in [(0.01, 0.9), (0.05, 0.8)]:
        c, n = clipped_values(d), len(d)
        inside = np.mean(c == d)
        half = (stats.t.ppf(1 - alpha / 2, n - 1) + stats.t.ppf(power, n - 1)) * np.std(c, ddof=1) / math.sqrt(n)
        case("power", values=d, alpha=alpha, power=power, log=half / inside)

for low, high, coverage, alpha, power in [(0.97, 1.04, 0.95, 0.01, 0.9), (40.0, 55.0, 0.953, 0.05, 0.8)]:
    error = math.log(high / low) / 2 / stats.norm.ppf((1 + coverage) / 2)
    case("power_from_interval", low=low, high=high, coverage=coverage, alpha=alpha, power=power,
         log=(stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(power)) * error)
for half, coverage, threshold, alpha, power in [(0.03, 0.95, 0.05, 0.01 / 36, 0.9), (0.2, 0.953, 0.1, 0.05, 0.8)]:
    z = stats.norm.ppf((1 + coverage) / 2)
    error, room = math.log1p(half) / z, math.log1p(threshold)
    both = z + stats.norm.ppf((1 + power) / 2)
    case("enough", half_width=half, coverage=coverage, threshold=threshold, alpha=alpha, power=power,
         equivalence=(both * error / room) ** 2,
         effect=((stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(power)) * error / room) ** 2,
         half_width_of_one=math.expm1(room * z / (both * math.sqrt(2))))

# --- Tukey's fences: numpy ------------------------------------------------------------------------------
for values in samples.values():
    q1, q3 = np.quantile(values, [0.25, 0.75])
    far = np.maximum(q1 - values, values - q3) / (q3 - q1 if q3 > q1 else 1)
    beyond = np.maximum(q1 - values, values - q3)
    case("outlier", values=values, mild=int(np.sum((beyond > 1.5 * (q3 - q1)) & (beyond <= 3 * (q3 - q1)))),
         severe=int(np.sum(beyond > 3 * (q3 - q1))))

# --- two samples: every difference, ranks from scipy's exact U; beyond 2,500 pairs the formula ----
def two_sample_shift(x, y, level):
    m, n, tail = len(x), len(y), (1 - level) / 2
    d = np.sort(np.subtract.outer(y, x).ravel())
    if m * n <= 2500:
        cdf = _MWU(m, n).cdf(np.arange(m * n // 2 + 1))
        r = int(np.sum(cdf <= tail + 1e-12))
        below = cdf[r - 1]
    else:
        mean, sd = m * n / 2, math.sqrt(m * n * (m + n + 1) / 12)
        r = math.floor(mean + 0.5 + stats.norm.ppf(tail) * sd)
        below = stats.norm.cdf((r - 0.5 - mean) / sd)
    case("two_sample_shift", base=x, head=y, level=level, estimate=np.median(d), low=d[r - 1],
         high=d[len(d) - r], coverage=1 - 2 * below)


for x, y in [(samples["five"], samples["ties"]), (samples["normal"], samples["normal"][:20] + 0.3),
             (np.log(clustered(40)), np.log(clustered(40) * 1.1)), (samples["tiny"], samples["tiny"] * 2),
             (np.log(clustered(60)), np.log(clustered(90) * 1.05)), (np.ones(6), np.ones(9))]:
    for level in [0.9, 0.95]:
        two_sample_shift(x, y, level)

# --- rank sums: scipy's permutation test where every deal can be tried, its exact U where there are
# no ties, its asymptotic U with ties beyond that ---------------------------------------------------
for x, y in [([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]), ([1.0, 1.0, 2.0, 5.0], [2.0, 2.0, 7.0, 7.0, 7.0]),
             (samples["five"], samples["ties"]), (np.ones(4), np.ones(5)), ([3.0, 2.0], [1.0, 2.0, 2.0]),
             (np.round(samples["normal"][:9], 0), np.round(samples["normal"][9:18] + 1, 0))]:
    ranks = stats.rankdata(np.concatenate([x, y]))
    got = stats.permutation_test((ranks[len(x):], ranks[:len(x)]), lambda a, b: np.sum(a),
                                 permutation_type="independent", n_resamples=np.inf)
    case("rank_sum", base=np.asarray(x), head=np.asarray(y), p=min(1.0, got.pvalue))
for m, n, shift in [(20, 20, 0.0), (20, 20, 1.2), (50, 50, 0.9), (12, 40, 0.5)]:
    x, y = rng.standard_normal(m), rng.standard_normal(n) + shift
    case("rank_sum", base=x, head=y, p=stats.mannwhitneyu(x, y, method="exact").pvalue)
for m, n, shift, digits in [(51, 50, 0.4, 1), (200, 400, 0.0, 2), (150, 150, 0.6, 0)]:
    x, y = np.round(rng.standard_normal(m), digits), np.round(rng.standard_normal(n) + shift, digits)
    case("rank_sum", base=x, head=y, p=stats.mannwhitneyu(x, y, method="asymptotic").pvalue)

versions = {"python": platform.python_version(), "numpy": np.__version__, "scipy": scipy.__version__,
            "statsmodels": statsmodels.__version__}
def line(c):
    return json.dumps(c, allow_nan=False)


body = ",\n".join(f' "{m}": [\n' + ",\n".join("  " + line(c) for c in cs) + "\n ]" for m, cs in cases.items())
print('{"versions": ' + json.dumps(versions) + ',\n"cases": {\n' + body + "\n}}")
