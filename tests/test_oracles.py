"""Against skglm, pyproximal and proxop, where they have the function.

What they get wrong is left out, by name:

- skglm `prox_MCP`: no rule for step >= gamma (divides by a negative number).
- skglm `prox_log_sum`: where step > eps^2 its bisection can start from a NaN
  and ends at the wrong threshold.
- pyproximal `SCAD`: only the rule for step < a - 1.
- pyproximal `L0`: thresholds at tau sigma, not at sqrt(2 tau sigma).
- pyproximal `Log1`: 2 tau where the quadratic equation has 4 tau, and no
  comparison with 0.
- proxop `SCAD`: soft thresholding where step > a + 1 needs hard.
- proxop `CapL1`: adds its condition as a number, so that small inputs give 1.
- proxop `Root`: only q = 1/2; elsewhere its Newton starts from |x| / 2 in a
  scaled variable and lands on the smaller root for small x.
- proxop `LogSum`: no comparison with 0, and fails on arrays.
"""

import numpy as np
import pytest
from keras import ops

import keras_nonconvex as knc
from keras_nonconvex import penalties

T = np.concatenate([np.geomspace(1e-3, 5, 300), -np.geomspace(1e-3, 5, 300)])
STEPS = (0.01, 0.2, 1.0, 2.5, 6.0)


def ours(penalty, step, w=T, strength=1.0):
    reg = knc.Elementwise(penalty, strength)
    return ops.convert_to_numpy(reg.proximal(w, step))


def each(function):
    """A function of one number, over all of T."""
    return np.array([function(t) for t in T])


@pytest.fixture(scope="module")
def skglm():
    pytest.importorskip("skglm")
    from skglm.utils import prox_funcs

    return prox_funcs


@pytest.fixture(scope="module")
def pyproximal():
    return pytest.importorskip("pyproximal")


@pytest.fixture(scope="module")
def proxop():
    return pytest.importorskip("proxop")


def agree(first, second, atol=1e-9):
    np.testing.assert_allclose(first, second, atol=atol)


@pytest.mark.parametrize("step", STEPS)
class TestScalar:
    def test_l1(self, step, skglm, pyproximal, proxop):
        found = ours(penalties.L1(), step)
        agree(found, skglm.ST_vec(T, step))
        agree(found, pyproximal.L1(1.0).prox(T, step))
        agree(found, proxop.AbsValue().prox(T, step))

    def test_elastic_net(self, step, skglm):
        from skglm.penalties import L1_plus_L2

        oracle = L1_plus_L2(alpha=0.8, l1_ratio=0.4)
        reg = knc.Elementwise(penalties.L1(), 0.8 * 0.4, decay=0.8 * 0.6)
        found = ops.convert_to_numpy(reg.proximal(T, step))
        agree(found, each(lambda t: oracle.prox_1d(t, step, 0)))

    def test_l0(self, step, proxop):
        agree(ours(penalties.L0(), step), proxop.L0Norm().prox(T, step))

    def test_lp(self, step, skglm, proxop):
        half, two_thirds = (ours(penalties.Lp(p), step) for p in (0.5, 2 / 3))
        agree(half, each(lambda t: skglm.prox_05(t, step)))
        agree(two_thirds, each(lambda t: skglm.prox_2_3(t, step)))
        agree(half, proxop.Root(0.5).prox(T, step))

    @pytest.mark.parametrize("strength", [0.3, 1.0])
    def test_mcp(self, step, strength, skglm, proxop):
        # `knee=None`: the textbooks' penalty, step and strength apart.
        found = ours(penalties.MCP(3.0), step, strength=strength)
        agree(found, proxop.MCP(strength, 3.0).prox(T, step))
        if step < 3.0:
            agree(found, each(lambda t: skglm.prox_MCP(t, step, strength, 3.0)))

    @pytest.mark.parametrize("strength", [0.3, 1.0])
    def test_scad(self, step, strength, skglm, pyproximal, proxop):
        found = ours(penalties.SCAD(3.7), step, strength=strength)
        agree(found, each(lambda t: skglm.prox_SCAD(t, step, strength, 3.7)))
        if step < 2.7:
            agree(found, pyproximal.SCAD(strength, 3.7).prox(T, step))
        if step < 4.7:
            agree(found, proxop.SCAD(strength, 3.7).prox(T, step))

    @pytest.mark.parametrize("epsilon", [0.1, 1.5])
    def test_log_sum(self, step, epsilon, skglm, pyproximal):
        found = ours(penalties.LogSum(epsilon), step)
        if step <= epsilon**2:
            agree(found, each(lambda t: skglm.prox_log_sum(t, step, epsilon)))
        sigma = np.log(1 / epsilon + 1)  # takes its scaling off
        agree(found, pyproximal.Log(sigma, 1 / epsilon).prox(T, step))

    @pytest.mark.parametrize("a", [0.7, 1.3])
    def test_cel0(self, step, a, proxop):
        for strength in (0.3, 1.0):
            found = ours(penalties.CEL0(a), step, strength=strength)
            agree(found, proxop.CEL0(strength, a).prox(T, step))

    def test_firm_is_mcp(self, step):
        zeta = 0.3
        firm = ours(penalties.Firm(zeta), step)
        agree(firm, ours(penalties.MCP(1 / (2 * zeta), 1.0), step))


class TestGroups:
    W = np.random.default_rng(0).normal(size=(6, 50))

    def found(self, reg, step):
        return ops.convert_to_numpy(reg.proximal(self.W, step))

    def columns(self, function):
        return np.stack([function(column) for column in self.W.T], axis=1)

    @pytest.mark.parametrize("step", [0.1, 1.0, 2.0])
    def test_radial_lifts(self, step, skglm):
        from skglm.penalties import BlockMCPenalty
        from skglm.penalties import BlockSCAD

        plain = {"group_weights": None}
        lasso = self.found(knc.GroupLasso(1.0, **plain), step)
        agree(lasso, self.columns(lambda v: skglm.BST(v, step)))
        half = self.found(knc.GroupLp(1.0, p=0.5, **plain), step)
        agree(half, self.columns(lambda v: skglm.prox_block_2_05(v, step)))
        for strength in (0.4, 1.0):
            mcp = BlockMCPenalty(strength, 3.0)
            scad = BlockSCAD(strength, 3.7)
            for reg, oracle in (
                (knc.GroupMCP(strength, gamma=3.0, **plain), mcp),
                (knc.GroupSCAD(strength, a=3.7, **plain), scad),
            ):
                agree(
                    self.found(reg, step),
                    self.columns(lambda v: oracle.prox_1feat(v, step, 0)),  # noqa: B023
                )

    def test_sparse_group_lasso(self, pyproximal):
        reg = knc.SparseGroupL1(0.3, group_strength=0.7, group_weights=None)
        oracle = pyproximal.L21_plus_L1(1.0, 0.3)
        agree(self.found(reg, 0.8), oracle.prox(self.W, 0.8))

    @pytest.mark.parametrize("k", [3, 10])
    @pytest.mark.parametrize("step", [0.1, 0.5, 0.9])
    def test_debiased_envelope(self, k, step, pyproximal):
        oracle = pyproximal.QuadraticEnvelopeCardIndicator(k)
        w = self.W[0]
        reg = knc.GroupSparseEnvelope(k, 1.0, groups="weights", debiased=True)
        x = ops.convert_to_numpy(reg.proximal(w, step))
        agree(x, oracle.prox(w, step), 1e-8)
        assert float(reg(w)) == pytest.approx(oracle(w))
