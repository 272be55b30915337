"""The table of mutants."""

import dataclasses
import pathlib

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


@dataclasses.dataclass(frozen=True)
class Mutant:
    """A fault in one line.

    Attributes:
        file: Path of the file, from the project's folder.
        old: A piece of text that stands in it once.
        new: What it becomes.
        tests: Test files or test ids that must kill it, by spaces.
    """

    file: str
    old: str
    new: str
    tests: str

    def __str__(self):
        return f"{self.file}: {self.old.strip()} -> {self.new.strip()}"

    def apply(self, folder):
        """Writes the fault into a copy; returns the sound text."""
        path = folder / self.file
        text = path.read_text()
        if text.count(self.old) != 1:
            raise ValueError(
                f"A mutant's old text must stand once in {self.file}. "
                f"Received: {self.old!r}, {text.count(self.old)} times"
            )
        path.write_text(text.replace(self.old, self.new))
        return text


BASE = "keras_nonconvex/regularizers/base.py"
SCALAR = "keras_nonconvex/penalties/scalar.py"
VECTOR = "keras_nonconvex/penalties/vector.py"
JOINT = "keras_nonconvex/regularizers/joint_prox.py"
ENVELOPE = "keras_nonconvex/regularizers/envelope.py"
HIERARCHICAL = "keras_nonconvex/regularizers/hierarchical.py"
PATTERNS = "keras_nonconvex/group_patterns.py"
CALLBACKS = "keras_nonconvex/callbacks/"
COUPLED = "keras_nonconvex/training/coupled/"
STEP_SIZE = "keras_nonconvex/solvers/step_size.py"
PROXIMAL = "keras_nonconvex/solvers/proximal.py"
SOLVERS = "keras_nonconvex/solvers/"
PRUNING = "keras_nonconvex/pruning/"
RUN_FOLDER = "keras_nonconvex/compression/making.py"
PARITY = "tflite_export/parity.py"
GATES = "keras_nonconvex/pruning/criteria/gates.py"
CARRIED = "tests/test_carrying.py::test_all_zero_filters_but_one_per_reader_go"
COVER = (
    "tests/test_carrying.py::"
    "test_each_cell_has_a_carrier_and_none_is_there_for_nothing"
)

# Tests that kill several.
IN_ANY_REGIME = (
    "tests/test_penalties.py::TestEveryScalarPenalty::"
    "test_no_point_beats_the_prox_in_any_regime"
)
OF_VECTORS = (
    "tests/test_penalties.py::TestEveryVectorPenalty::"
    "test_no_point_beats_the_prox_in_any_regime"
)
JOINTLY = (
    "tests/test_sparse_group.py::TestEveryPenalty::"
    "test_no_point_beats_it_in_any_regime"
)
SHARES = "tests/test_envelope.py::test_no_shares_beat_the_prox_in_any_regime"
METRIC = (
    "tests/test_step_size.py::"
    "test_metric_is_the_optimizers_own_at_updates_1_2_and_10"
)
FOLDER = "tests/test_run_folder.py"
INTERRUPTED = (
    "tests/test_resuming.py::"
    "test_a_run_interrupted_everywhere_makes_the_same_files"
)
RISE = "tests/test_criteria.py::test_loss_rise_is_that_of_the_masked_model"
NUMBERS = "tests/test_parity.py::test_the_numbers_are_what_they_say"
BATTERY = "tests/test_pruning.py::test_the_battery_of_layer_rules"
ZERO_SCALE = (
    "tests/test_pruning.py::test_zero_scale_of_normalisation_is_constant"
)
REBUILT = "tests/test_pruning.py::test_rebuilt_equals_masked"

MUTANTS = [
    # What people see.
    Mutant(
        "keras_nonconvex/counts.py",
        "silent.get(key, np.True_) & zero",
        "silent.get(key, np.False_) | zero",
        "tests/test_counts.py",
    ),
    Mutant(
        "keras_nonconvex/terminal.py",
        "digits = 2 if n < 9.995",
        "digits = 2 if n < 10.0",
        "tests/test_terminal.py",
    ),
    Mutant(
        "keras_nonconvex/macs.py",
        "image = result[1:] if layer.return_sequences else result",
        "image = result",
        "tests/test_counts.py",
    ),
    Mutant(
        "keras_nonconvex/pruning/reasons.py",
        "size = size * len(found) // len(roots)",
        "size = size * 1",
        "tests/test_reasons.py",
    ),
    Mutant(
        "keras_nonconvex/configs.py",
        "return np.size(initializer.value) == 1",
        "return True",
        "tests/test_remaking.py",
    ),
    Mutant(
        "keras_nonconvex/files.py",
        "said(getattr(error, name))",
        "getattr(error, name)",
        "tests/test_files.py",
    ),
    # The decay beside a penalty.
    Mutant(
        BASE,
        "value = value + self.decay / 2.0 *",
        "value = value + self.decay *",
        "tests/test_decay.py",
    ),
    Mutant(
        BASE,
        "growth = 1.0 + self.decay * step",
        "growth = 1.0 + self.decay",
        "tests/test_decay.py",
    ),
    Mutant(
        BASE, "step = step / growth", "step = 1.0 * step", "tests/test_decay.py"
    ),
    Mutant(
        BASE,
        "t = t - t * (self.decay * step / growth)",
        "t = t / growth",
        "tests/test_decay.py::test_small_steps_decay_float32_as_they_should",
    ),
    Mutant(
        BASE,
        "return 0.95 / (1.0 + step * self.decay) if self.decay else 1.0",
        "return 1.0",
        "tests/test_decay.py",
    ),
    # Penalties.
    Mutant(
        SCALAR, "(total + step) / 2.0,", "total + 0.0 * step,", IN_ANY_REGIME
    ),
    Mutant(
        SCALAR,
        "ops.sqrt(step) * total**0.5,",
        "ops.sqrt(step) * width**0.5,",
        IN_ANY_REGIME,
    ),
    Mutant(
        SCALAR,
        "(maximum(a * knee - t, 0.0) / bend)",
        "(maximum(a * knee - t, 0.0) / width)",
        IN_ANY_REGIME,
    ),
    Mutant(
        SCALAR,
        "return _where(t > ops.sqrt(2.0 * step), t)",
        "return _where(t > step, t)",
        IN_ANY_REGIME,
    ),
    Mutant(
        SCALAR,
        "hard = _where(t > ops.sqrt(step) * flat**0.5, t)",
        "hard = _where(t > ops.sqrt(2.0 * step) * flat**0.5, t)",
        IN_ANY_REGIME,
    ),
    Mutant(
        SCALAR,
        "rise = maximum(1.0 - step / flat, 1e-12)",
        "rise = 1.0",
        IN_ANY_REGIME,
    ),
    Mutant(
        SCALAR, "self.theta + step / 2.0,", "self.theta + step,", IN_ANY_REGIME
    ),
    Mutant(
        SCALAR,
        "ops.sqrt(2.0 * (a + 1) * step) - a / 2,",
        "ops.sqrt(2.0 * (a + 1) * step) - a / 4,",
        IN_ANY_REGIME,
    ),
    Mutant(
        SCALAR,
        "ops.logical_and(total > twice, gain > 0),",
        "ops.logical_and(total > twice, x > 0),",
        IN_ANY_REGIME,
    ),
    Mutant(
        SCALAR,
        "lowest = 2.0 * (1.0 - p) / (2.0 - p)",
        "lowest = 2.0 * (1.0 - p) / (2.1 - p)",
        IN_ANY_REGIME,
    ),
    Mutant(
        SCALAR,
        "return 1.0 / ((self.a - 1.0) * self._knee)",
        "return 1.0 / (self.a * self._knee)",
        (
            "tests/test_penalties.py::TestEveryScalarPenalty::"
            "test_weak_convexity_is_the_least_that_makes_it_convex"
        ),
    ),
    Mutant(
        VECTOR,
        "maximum(largest - step + bonus, 0.0)",
        "maximum(largest - step, 0.0)",
        OF_VECTORS,
    ),
    Mutant(VECTOR, "(1.0 + step * count)", "(2.0 + step * count)", OF_VECTORS),
    # Regularizers.
    Mutant(
        JOINT,
        "c = radius / divisor(radius + group_step)",
        "c = radius / divisor(radius + 2.0 * group_step)",
        JOINTLY,
    ),
    Mutant(
        JOINT,
        "group_patterns.norms(at_zero, axes) > group_step,",
        "group_patterns.norms(t, axes) > group_step,",
        JOINTLY,
    ),
    Mutant(
        JOINT,
        "ops.any(step * rho > 1.0),",
        "ops.any(step * rho > 2.0),",
        JOINTLY,
    ),
    Mutant(
        JOINT,
        "left - minimum(radius, left) / 2.0",
        "left - minimum(radius, left)",
        JOINTLY,
    ),
    Mutant(ENVELOPE, "total = u * slack + level", "total = u + level", SHARES),
    Mutant(
        ENVELOPE,
        "rest = ops.cast(k - ops.cast(count, norms.dtype), norms.dtype)",
        "rest = ops.ones((), norms.dtype)",
        SHARES,
    ),
    Mutant(
        ENVELOPE,
        "_share_of_largest(norms / ops.sqrt(step), k)",
        "_share_of_largest(norms, k)",
        SHARES,
    ),
    Mutant(
        ENVELOPE,
        "ops.sum(weights * squares * factor) / 2.0",
        "ops.sum(squares * factor) / 2.0",
        "tests/test_envelope.py::test_value_is_the_closed_form",
    ),
    Mutant(
        HIERARCHICAL,
        "left = SquaredL1().prox(norms, 2.0 * step, outer)",
        "left = SquaredL1().prox(norms, step, outer)",
        "tests/test_hierarchical.py::test_exact_proxes_by_loops",
    ),
    Mutant(
        PATTERNS,
        "return math.sqrt(size(shape, axes))",
        "return float(size(shape, axes))",
        "tests/test_generic.py::test_group_is_the_penalty_of_each_norm",
    ),
    Mutant(
        COUPLED + "base.py",
        "return np.sqrt(sizes)\n",
        "return sizes\n",
        (
            "tests/test_coupled.py::"
            "test_value_and_prox_are_the_penaltys_of_each_class"
        ),
    ),
    Mutant(
        COUPLED + "classes.py",
        "steps = self.sizes / self.totals(metrics)",
        "steps = 1.0 / self.totals(metrics)",
        (
            "tests/test_coupled.py::"
            "test_the_step_of_a_class_is_the_inverse_of_its_mean_metric"
        ),
    ),
    Mutant(
        COUPLED + "base.py",
        "(saved / saved.mean())",
        "(saved / saved.max())",
        (
            "tests/test_coupled.py::"
            "test_weights_by_cost_are_in_units_of_the_mean_class"
        ),
    ),
    Mutant(
        COUPLED + "groups.py",
        "return roots * penalty.prox(t / roots, step * strengths)",
        "return penalty.prox(t, step * strengths * roots)",
        (
            "tests/test_coupled.py::"
            "test_no_norm_beats_the_prox_with_weights_and_a_decay"
        ),
    ),
    Mutant(
        ENVELOPE,
        "largest(norms / ops.sqrt(weights), count(total))",
        "largest(norms, count(total))",
        (
            "tests/test_coupled_envelope.py::"
            "test_training_ends_with_exactly_k_classes_of_the_whole_network"
        ),
    ),
    Mutant(
        CALLBACKS + "soft_pruning.py",
        'use.variable.name != "moving_mean"',
        "True",
        (
            "tests/test_plan_first.py::"
            "test_soft_zeros_grow_again_until_they_are_exact"
        ),
    ),
    # Solvers.
    Mutant(
        STEP_SIZE,
        "* ops.sqrt(1.0 - ops.power(optimizer.beta_2, count))",
        "* 1.0",
        METRIC,
    ),
    Mutant(
        STEP_SIZE,
        "velocities = optimizer._velocity_hats",
        "velocities = optimizer._velocities",
        METRIC,
    ),
    Mutant(
        STEP_SIZE,
        "rate = lr / (1.0 - ops.power(optimizer.beta_1, count))",
        "rate = lr",
        METRIC,
    ),
    Mutant(
        STEP_SIZE,
        "rate = lr / (1.0 - optimizer.momentum)",
        "rate = lr",
        (
            "tests/test_step_size.py::"
            "test_momentum_of_rmsprop_lengthens_the_step"
        ),
    ),
    Mutant(
        STEP_SIZE,
        "step = 1.0 / ops.mean(metric, axis=axes, keepdims=True)",
        "step = ops.mean(1.0 / metric, axis=axes, keepdims=True)",
        (
            "tests/test_step_size.py::"
            "test_groups_move_and_shrink_by_1_over_their_mean_metric"
        ),
    ),
    Mutant(
        PROXIMAL,
        "reach = step_size.momentum(optimizer) * last + lr",
        "reach = lr / (1.0 - step_size.momentum(optimizer))",
        (
            "tests/test_step_size.py::"
            "test_sgd_has_the_step_that_its_momentum_carries"
        ),
    ),
    Mutant(
        PROXIMAL,
        "reach = ops.where(updated, reach, ops.zeros_like(reach))",
        "reach = reach + 0.0",
        (
            "tests/test_solvers.py::TestEverySolver::"
            "test_it_waits_for_accumulated_gradients"
        ),
    ),
    Mutant(
        "keras_nonconvex/regularizers/orthogonality.py",
        "math.sqrt(rows) if",
        "rows if",
        "tests/test_orthogonality.py",
    ),
    Mutant(
        SOLVERS + "slimming.py",
        "(1.0 - way) * xi + way * gamma",
        "(1.0 - way) * gamma + way * xi",
        "tests/test_solvers.py::test_slimming_takes_the_papers_two_steps",
    ),
    Mutant(
        SOLVERS + "slimming.py",
        "if epoch == 0:",
        "if epoch < 0:",
        (
            "tests/test_solvers.py::"
            "test_slimming_starts_from_weights_that_came_after_compiling"
        ),
    ),
    Mutant(
        SOLVERS + "splitting.py",
        "1.0 / (self._beta_of(reg) * rise)",
        "1.0 / (self._beta_of(reg) + 0.0 * rise)",
        (
            "tests/test_solvers.py::"
            "test_splitting_with_growing_beta_reaches_the_objective"
        ),
    ),
    Mutant(
        SOLVERS + "admm.py",
        "u.assign(moved - z)",
        "u.assign(z - moved)",
        "tests/test_solvers.py::test_admm_adds_up_what_the_projection_takes",
    ),
    Mutant(
        ENVELOPE,
        "return k + self.spare * (total - k)",
        "return k + self.spare * total",
        (
            "tests/test_envelope_training.py::"
            "test_a_moment_of_the_schedule_is_an_envelope_of_another_k"
        ),
    ),
    Mutant(
        ENVELOPE,
        "ops.where(b > 0, b / divisor(u), math.inf * ops.ones_like(b))",
        "ops.where(b > 0, b, math.inf * ops.ones_like(b))",
        (
            "tests/test_strength.py::"
            "test_from_the_strength_of_an_envelope_on_its_groups_stay_alone"
        ),
    ),
    Mutant(
        SOLVERS + "half_space.py",
        "dead = ops.logical_and(turned, ops.logical_not(was))",
        "dead = ops.logical_and(was, ops.logical_not(was))",
        (
            "tests/test_envelope_training.py::"
            "test_frozen_groups_take_no_place_from_the_k_that_live"
        ),
    ),
    Mutant(
        "keras_nonconvex/constraints.py",
        "return ops.sum(t * level) / divisor(ops.sum(level * level))",
        "return ops.sum(t) / divisor(ops.sum(level))",
        "tests/test_levels.py::test_the_nearest_of_2_to_the_bits_levels",
    ),
    Mutant(
        SOLVERS + "half_space.py",
        "spared = ratio >= minimum",
        "spared = ratio <= minimum",
        (
            "tests/test_solvers.py::"
            "test_half_space_step_finds_the_groups_that_the_prox_leaves_alive"
        ),
    ),
    Mutant(
        SOLVERS + "batches.py",
        "step = _joined(regularizers, steps, places)",
        "step = steps[places[0]]",
        "tests/test_batches.py",
    ),
    # Pruning.
    Mutant(
        PRUNING + "selection.py",
        'best = np.argsort(-self.scores[dropped], kind="stable")',
        'best = np.argsort(self.scores[dropped], kind="stable")',
        (
            "tests/test_pruning.py::"
            "test_rounding_brings_the_best_of_the_dropped_back"
        ),
    ),
    Mutant(
        PRUNING + "selection.py",
        "keep[order[: place + 1]] = False",
        "keep[order[:place]] = False",
        (
            "tests/test_criteria.py::"
            "test_bn_scale_keeps_what_network_slimming_keeps"
        ),
    ),
    Mutant(
        PRUNING + "budgets.py",
        "limit = min(number * full[key] if relative else number, full[key])",
        "limit = min(number * full[key], full[key])",
        "tests/test_pruning.py::test_budget_is_met_and_least_scores_go",
    ),
    Mutant(
        PRUNING + "costs.py",
        "costs[name][1] += size(kernel) * times",
        "costs[name][1] += size(kernel)",
        REBUILT,
    ),
    Mutant(
        PRUNING + "costs.py",
        'costs["params"] += removal.new_parameters()',
        'costs["params"] += 0',
        BATTERY,
    ),
    Mutant(
        PRUNING + "removal/constants.py",
        "_union([constant, self._zero(scales), dropped])",
        "_union([constant, dropped])",
        ZERO_SCALE,
    ),
    Mutant(
        PRUNING + "removal/constants.py",
        "values = values & use.aligned(inside)",
        "values = False & use.aligned(inside)",
        (
            "tests/test_pruning_conditions.py::"
            "test_a_head_that_sends_its_bias_alone_is_no_constant"
        ),
    ),
    Mutant(
        PRUNING + "removal/constants.py",
        "alike = functools.reduce(np.intersect1d, constant)",
        "alike = _union(constant)",
        ("tests/test_pruning.py::test_superfluous_channels_go_without_a_trace"),
    ),
    Mutant(
        PRUNING + "removal/constants.py",
        'for use in trace.of_role("input", "inner"):\n        ids',
        'for use in trace.of_role("input"):\n        ids',
        (
            "tests/test_pruning_conditions.py::"
            "test_a_mask_made_from_channels_has_to_stay"
        ),
    ),
    Mutant(
        PRUNING + "removal/arriving.py",
        "return self._equal(self.high - self.low)",
        "return self._equal(self.drift)",
        (
            "tests/test_sizes.py::"
            "test_a_constant_that_depends_on_the_size_is_none"
        ),
    ),
    Mutant(
        PRUNING + "removal/arriving.py",
        "return finite and self._equal(self.drift)",
        "return finite",
        "tests/test_sizes.py::test_what_depends_on_the_size_stays_and_says_so",
    ),
    Mutant(
        PRUNING + "removal/constants.py",
        "nonzero = nonzero & further.rows().any(axis=1)",
        "nonzero = further.rows().any(axis=1)",
        (
            "tests/test_constants.py::"
            "test_a_channel_that_one_of_two_kernels_does_not_read_goes"
        ),
    ),
    Mutant(
        PRUNING + "rules/merging.py",
        "multiplies = True",
        "multiplies = False",
        "tests/test_following.py",
    ),
    Mutant(
        "keras_nonconvex/macs.py",
        "times(call.path)",
        "1",
        "tests/test_following.py::"
        "test_a_model_over_time_is_followed_as_a_nested_one",
    ),
    Mutant(
        PRUNING + "criteria/gates.py",
        "rows = len(output) // len(self.batch)",
        "rows = 5",
        "tests/test_following.py::"
        "test_a_model_over_time_is_followed_as_a_nested_one",
    ),
    Mutant(
        PRUNING + "channels/balancing.py",
        "optimize.LinearConstraint(excess, 0, 0)",
        "optimize.LinearConstraint(excess, -1, 1)",
        "tests/test_shuffles.py",
    ),
    Mutant(
        PRUNING + "channels/uses.py",
        "self.joined(self.spread(array)[stays])",
        "np.compress(stays[: array.shape[self.axis]], array, self.axis)",
        "tests/test_shuffles.py",
    ),
    Mutant(
        PRUNING + "rules/moving.py",
        "return found if found == earlier else None",
        "return found",
        "tests/test_sizes.py::test_channels_that_move_as_the_size_says_stay",
    ),
    Mutant(
        PRUNING + "rules/elementwise.py",
        "array = np.compress(masks[-axis], array, axis=-axis)",
        "pass",
        "tests/test_config_sizes.py::test_bounds_of_a_clip_are_cut",
    ),
    Mutant(
        PRUNING + "channels/measuring.py",
        "sizes = [n * base + more for n, more in further[:free]]",
        "sizes = [base for _ in further[:free]]",
        (
            "tests/test_sizes.py::"
            "test_a_constant_that_depends_on_the_size_is_none"
        ),
    ),
    Mutant(
        PRUNING + "removal/constants.py",
        "constant = dropped = _NONE",
        "constant, dropped = self._passed_on(call), _NONE",
        (
            "tests/test_constants.py::"
            "test_what_passes_a_layer_in_training_mode_is_no_constant"
        ),
    ),
    Mutant(
        PRUNING + "removal/carrying.py",
        "return self._signals[these, peak] / self._signals[carrier, peak]",
        "return self._signals[carrier, peak] / self._signals[these, peak]",
        CARRIED,
    ),
    Mutant(
        PRUNING + "removal/carrying.py",
        "self._signals[these, peak] / self._signals[carrier, peak]",
        "self.size[these] / self.size[carrier]",
        "tests/test_carrying.py::test_constants_of_either_sign_are_carried",
    ),
    Mutant(
        PRUNING + "removal/carrying.py",
        "parts[self.places[carrier]] += np.tensordot(",
        "parts[self.places[carrier]] = np.tensordot(",
        CARRIED,
    ),
    Mutant(
        PRUNING + "removal/carrying.py",
        "alike &= group[left] == group[first]",
        "pass",
        CARRIED,
    ),
    Mutant(
        PRUNING + "removal/carrying.py",
        "carrier = able[np.argmax(self.size[able])]",
        "carrier = able[np.argmin(self.size[able])]",
        (
            "tests/test_carrying.py::"
            "test_of_those_that_stay_the_greatest_constant_carries"
        ),
    ),
    Mutant(
        PRUNING + "removal/carrying.py",
        "(self.size >= _LEAST * most)",
        "(self.size > 0)",
        (
            "tests/test_carrying.py::"
            "test_a_small_constant_does_not_carry_a_great_one"
        ),
    ),
    Mutant(
        PRUNING + "removal/superfluous.py",
        "if not by_others or level.root in alone:",
        "if not by_others:",
        (
            "tests/test_carrying.py::"
            "test_behind_a_depthwise_convolution_borders_differ"
        ),
    ),
    Mutant(
        PRUNING + "carriers.py",
        "order = np.lexsort((prices[able], -served[able], ~free))",
        "order = np.lexsort((prices[able], served[able], ~free))",
        COVER,
    ),
    Mutant(
        PRUNING + "carriers.py",
        "order = np.lexsort((prices[able], -served[able], ~free))",
        "order = np.lexsort((prices[able], -served[able], free))",
        COVER,
    ),
    Mutant(
        PRUNING + "carriers.py",
        "if selection.movable[cell.carriers].all()",
        "if True",
        COVER,
    ),
    Mutant(
        PRUNING + "removal/folding.py",
        "slice(n // 2, n // 2 + 1)",
        "slice(0, 1)",
        (
            "tests/test_pruning.py::"
            "test_folded_constants_are_exact_inside_and_measured_at_the_border"
        ),
    ),
    Mutant(
        PRUNING + "removal/folding.py",
        '{"activation": None, "use_bias": False, "bias_axes": None}',
        '{"use_bias": False, "bias_axes": None}',
        REBUILT,
    ),
    Mutant(
        PRUNING + "removal/folding.py",
        "return first[0], error if error > rounding else 0.0",
        "return first[0], 0.0",
        (
            "tests/test_pruning.py::"
            "test_folded_constants_are_exact_inside_and_measured_at_the_border"
        ),
    ),
    Mutant(
        "keras_nonconvex/graph.py",
        "return [given[t.name] for t in model.inputs]",
        "return tree.flatten(given)[: len(model.inputs)]",
        (
            "tests/test_removal.py::"
            "test_a_nested_model_called_with_a_dict_gets_its_inputs_by_name"
        ),
    ),
    Mutant(
        PRUNING + "removal/branches.py",
        "if not empty and not self.bypassed:",
        "if not empty:",
        "tests/test_removal.py::test_a_branch_that_adds_a_constant_goes_whole",
    ),
    Mutant(
        PRUNING + "removal/choices.py",
        "indices = places[pick.indices[given[pick.indices]]]",
        "indices = pick.indices[given[pick.indices]] % given.sum()",
        "tests/test_following.py::test_channels_are_followed_through",
    ),
    Mutant(
        PRUNING + "rules/merging.py",
        "walk.needs_zero(ids)",
        "pass",
        "tests/test_constants.py",
    ),
    Mutant(
        PRUNING + "rules/normalizing.py",
        "self.count = x.full[-1]",
        "self.count = x.shape[-1]",
        (
            "tests/test_following.py::"
            "test_a_layer_normalization_keeps_the_statistics_of_all_channels"
        ),
    ),
    Mutant(
        PRUNING + "channels/following.py",
        "if other.free().sum() > best.free().sum():",
        "if False:",
        "tests/test_following.py::test_channels_are_followed_through",
    ),
    Mutant(
        PRUNING + "rules/judging.py",
        "same = _same(mixed[~changed], y[~changed]) and _same(",
        "same = _same(",
        (
            "tests/test_following.py::"
            "test_an_activation_across_channels_keeps_them"
        ),
    ),
    Mutant(
        PRUNING + "rules/weighted.py",
        'layer.padding == "valid" or set(layer.kernel_size) == {1}',
        "True",
        BATTERY,
    ),
    Mutant(
        PRUNING + "rules/weighted.py",
        "np.repeat(ids, layer.depth_multiplier)\n        return",
        "np.tile(ids, layer.depth_multiplier)\n        return",
        "tests/test_following.py::test_channels_are_followed_through",
    ),
    Mutant(
        PRUNING + "rules/weighted.py",
        'role = "scale" if letter in result else "input"',
        'role = "input"',
        "tests/test_pruning.py::test_zero_scale_of_an_equation_is_constant",
    ),
    Mutant(
        PRUNING + "rules/normalizing.py",
        '("beta", "shift"),\n            ("moving_mean", "state"),',
        '("beta", "scale"),\n            ("moving_mean", "state"),',
        ZERO_SCALE,
    ),
    Mutant(
        PRUNING + "channels/walk.py", "self.tie(known[0], ids)", "pass", BATTERY
    ),
    Mutant(
        PRUNING + "criteria/base.py",
        "total = total / np.maximum(count, 1)",
        "pass",
        "tests/test_criteria.py::test_scores_of_tied_channels_combine",
    ),
    Mutant(
        PRUNING + "criteria/weights.py",
        "** (1 / self.p)",
        "** 1",
        (
            "tests/test_criteria.py::"
            "test_group_norm_does_not_depend_on_size_or_scale"
        ),
    ),
    Mutant(
        PRUNING + "criteria/weights.py",
        "return np.where(moving, varying, np.maximum(mean, 0.0))",
        "return varying",
        (
            "tests/test_criteria.py::"
            "test_bn_importance_is_the_mean_of_a_rectified_normal"
        ),
    ),
    Mutant(
        PRUNING + "criteria/gradients.py",
        "part * _change(trace, gradients, makers)",
        "part * _change(trace, gradients, makers) ** 2",
        (
            "tests/test_criteria.py::"
            "test_fisher_is_the_squared_slope_along_the_filter"
        ),
    ),
    Mutant(
        PRUNING + "criteria/gradients.py",
        "part * (part * count) * _change(",
        "part * count * _change(",
        (
            "tests/test_criteria.py::"
            "test_output_change_is_the_squared_slope_of_all_outputs"
        ),
    ),
    Mutant(
        PRUNING + "selection.py",
        "middle = (low + high + 1) // 2",
        "middle = high = (low + high + 1) // 2",
        "tests/test_rise.py::test_the_most_channels_go_that_the_rise_allows",
    ),
    # Run folder and export.
    Mutant(
        RUN_FOLDER,
        "before.read_text() != recipe",
        "before.read_text() == recipe",
        FOLDER,
    ),
    Mutant(
        RUN_FOLDER,
        "self.part.exists() and not resume",
        "self.part.exists()",
        FOLDER,
    ),
    Mutant(RUN_FOLDER, "force and not known", "not known", FOLDER),
    Mutant(
        "keras_nonconvex/compression/steps.py",
        "if other.name in step.needs]",
        "if other.name in step.needs[1:]]",
        "tests/test_steps.py",
    ),
    Mutant(
        "keras_nonconvex/compression/steps.py",
        "            if not _done(step, records):",
        "            if True:",
        "tests/test_steps.py",
    ),
    Mutant(
        "keras_nonconvex/compression/steps.py",
        "keras.utils.set_random_seed(seed)",
        "pass",
        INTERRUPTED,
    ),
    Mutant(
        "keras_nonconvex/training/backup.py",
        "[*model.variables, *model.optimizer.variables]",
        "[*model.weights, *model.optimizer.variables]",
        INTERRUPTED,
    ),
    Mutant(
        "keras_nonconvex/training/backup.py",
        "done - self._best >= self.patience",
        "done - self._best > self.patience",
        "tests/test_resuming.py::"
        "test_patience_counts_the_epochs_before_an_interruption",
    ),
    Mutant(
        "keras_nonconvex/compression/measure.py",
        "return value if self.higher else -value",
        "return value",
        "tests/test_tasks.py::test_measures_are_told_in_points_or_in_percent",
    ),
    Mutant(
        "keras_nonconvex/datasets/dividing.py",
        "order = order[np.lexsort(keys[::-1])]",
        "order = np.arange(size)",
        "tests/test_tasks.py::"
        "test_samples_have_of_each_class_its_share_in_random_order",
    ),
    Mutant(
        "keras_nonconvex/compression/front.py",
        "behind(name) <= within",
        "100 * behind(name) <= within",
        "tests/test_compression.py::"
        "test_the_smallest_network_that_is_near_enough_is_chosen",
    ),
    Mutant(
        PARITY, "spread = float(expected.std()) or 1.0", "spread = 1.0", NUMBERS
    ),
    Mutant(
        PARITY,
        "self.error <= self.limits.error and (",
        "self.error <= self.limits.error or (",
        "tests/test_parity.py::test_limits_decide",
    ),
    Mutant(
        GATES,
        "if all(self._has_samples(key, known[key]) for key in known):",
        "if True:",
        "tests/test_criteria.py::"
        "test_runs_start_where_the_samples_are_the_first_axis",
    ),
    Mutant(
        GATES,
        "rises -= self._losses(base, [], gone, y)",
        "rises -= self._losses(base, [], gone, y) / 2.0",
        RISE,
    ),
    Mutant(
        "keras_nonconvex/outputs.py",
        "return 0.5 if self.probabilities else 0.0",
        "return 0.5",
        "tests/test_outputs.py::test_accuracy_is_that_of_keras",
    ),
    Mutant(
        "keras_nonconvex/endings.py",
        "if in_unit and _near_one(plus + minus):",
        "if in_unit:",
        "tests/test_outputs.py::test_the_last_layers_tell_what_an_output_is",
    ),
    Mutant(
        PARITY,
        "np.sqrt(np.mean(difference**2))",
        "np.mean(difference)",
        NUMBERS,
    ),
    Mutant(
        PARITY,
        "accuracy=_mean(_accuracies(heads, found, labels))",
        "accuracy=_mean(_accuracies(heads, expected, labels))",
        "tests/test_parity.py::test_both_accuracies_count_against_the_same_labels",
    ),
    Mutant(
        PARITY,
        "error=max(map(_error, expected, differences)),",
        "error=min(map(_error, expected, differences)),",
        "tests/test_exported_models.py::"
        "test_several_inputs_and_outputs_are_compared_and_timed",
    ),
    Mutant(
        "tflite_export/inference.py",
        "found = tree.flatten(model(given, training=False))",
        "found = tree.flatten(model(given))",
        "tests/test_exported_models.py::test_files_compute_what_predict_does",
    ),
    Mutant(
        "tflite_export/flatfile.py",
        "ordered = [found[name] for name in wanted]",
        "ordered = [found[name] for name in sorted(wanted)]",
        "tests/test_exported_models.py::"
        "test_inputs_and_outputs_keep_their_names_and_order",
    ),
    Mutant(
        "keras_nonconvex/ranges.py",
        "if step > 0.2:",
        "if step > 20:",
        "tests/test_ranges.py::test_the_first_layers_say_what_a_model_takes",
    ),
    Mutant(
        "keras_nonconvex/ranges.py",
        "* np.float32(scale) + takes.low",
        "* np.float32(scale)",
        "tests/test_ranges.py",
    ),
    Mutant(
        "keras_nonconvex/samples.py",
        "np.sort(np.argpartition(keys, most)[:most])",
        "np.arange(most)",
        "tests/test_samples.py::test_every_form_gives_the_same_arrays",
    ),
    Mutant(
        "keras_nonconvex/datasets/base.py",
        "integers(ends[:-1], ends[1:])",
        "integers(ends[:-1], ends[:-1] + 1)",
        "tests/test_datasets.py::test_a_few_images_are_from_all_over",
    ),
    Mutant(
        "keras_nonconvex/training/descent.py",
        "max(steps * epochs, 1)",
        "steps",
        "tests/test_recovery.py::"
        "test_the_rate_falls_by_a_cosine_over_all_steps[arrays]",
    ),
    Mutant(
        "keras_nonconvex/training/descent.py",
        "(self.done + 0.5) / self.epochs",
        "self.done / self.epochs",
        "tests/test_recovery.py::"
        "test_where_the_steps_are_not_known_the_rate_falls_by_the_epoch",
    ),
    Mutant(
        "keras_nonconvex/training/distillation.py",
        "return self.temperature**2 * ",
        "return ",
        "tests/test_recovery.py::"
        "test_with_a_teacher_penalties_and_weights_of_samples_count",
    ),
    Mutant(
        "keras_nonconvex/training/distillation.py",
        "sum(self.losses) / replicas()",
        "sum(self.losses)",
        "tests/test_distribution.py::"
        "test_a_teacher_on_replicas_teaches_as_on_one_device",
    ),
    Mutant(
        "keras_nonconvex/compression/trial.py",
        "_TRIES = 3",
        "_TRIES = 1",
        "tests/test_bad_input.py::"
        "test_times_are_taken_again_before_a_budget_is_refused",
    ),
    Mutant(
        "keras_nonconvex/compression/reaching.py",
        "float(part < 1.0)",
        "1.0",
        "tests/test_reaching.py::"
        "test_so_many_filters_are_zero_however_long_an_epoch_is[1-6]",
    ),
    Mutant(
        "keras_nonconvex/compression/reaching.py",
        "    spared = set(_giving(model.outputs))",
        "    spared = set()",
        "tests/test_reaching.py::"
        "test_so_many_filters_are_zero_however_long_an_epoch_is[1-6]",
    ),
    Mutant(
        "keras_nonconvex/compression/task.py",
        'loss.reduction = "none"',
        'loss.reduction = "sum"',
        "tests/test_tasks.py::"
        "test_maps_of_values_are_compressed_by_a_loss_of_ones_own",
    ),
    Mutant(
        "keras_nonconvex/training/distillation.py",
        "(soft - (whole - penalties))",
        "(soft - whole)",
        "tests/test_recovery.py::"
        "test_with_a_teacher_penalties_and_weights_of_samples_count",
    ),
    Mutant(
        "keras_nonconvex/datasets/dividing.py",
        "count = min(count, len(rows) - 1)",
        "count = min(count, len(rows))",
        "tests/test_splits.py::"
        "test_what_is_missing_is_divided_off_in_each_class_alike",
    ),
    Mutant(
        "keras_nonconvex/datasets/pictures.py",
        "0, 65535) / 257",
        "0, 65535) / 256",
        "tests/test_pictures.py::test_16_bits_become_8",
    ),
    Mutant(
        "keras_nonconvex/datasets/pictures.py",
        "(last + 1) / count - 0.5",
        "(last + 1) / count",
        "tests/test_pictures.py::"
        "test_without_antialias_sizes_are_those_of_the_layers_of_keras",
    ),
    Mutant(
        "keras_nonconvex/datasets/streams.py",
        "return self._part.y[rows]",
        "return self._part.y[::-1][rows]",
        "tests/test_splits.py",
    ),
    Mutant(
        "keras_nonconvex/datasets/pipeline.py",
        "np.int64(next(numbers))",
        "np.int64(passes.epoch)",
        "tests/test_splits.py::"
        "test_a_training_that_goes_on_sees_what_it_would_have_seen",
    ),
    Mutant(
        "keras_nonconvex/datasets/split.py",
        "(len(self) / (present",
        "(1.0 / (present",
        "tests/test_splits.py::test_class_weights",
    ),
    Mutant(
        f"{PRUNING}refitting/least_squares.py",
        "np.where(y <= self.low, np.minimum(predicted, self.low), y)",
        "np.where(y <= self.low, self.low, y)",
        "tests/test_repair.py::test_what_a_relu_cuts_off_does_not_count",
    ),
    Mutant(
        f"{PRUNING}refitting/units.py",
        "len(twin.inputs) == len(reader.inputs) > 1",
        "len(twin.inputs) == len(reader.inputs)",
        "tests/test_repair.py::test_wrong_weights_of_any_layer_are_set_right",
    ),
    Mutant(
        f"{PRUNING}refitting/stream.py",
        "graph.outputs_for(call, inputs, training=False)",
        "graph.outputs_for(call, inputs)",
        "tests/test_repair.py::test_wrong_weights_of_any_layer_are_set_right",
    ),
    Mutant(
        "keras_nonconvex/training/flow.py",
        "self.curvature * _size(_differences(steps))",
        "self.curvature * _size(steps)",
        "tests/test_feature_flow.py::"
        "test_the_loss_is_length_and_curvature_of_each_path_of_equal_shape",
    ),
    Mutant(
        "keras_nonconvex/training/flow.py",
        "key=lambda h: tuple(h.shape[1:])",
        "key=lambda h: len(h.shape)",
        "tests/test_feature_flow.py::"
        "test_points_of_different_shapes_make_no_path",
    ),
    Mutant(
        "keras_nonconvex/training/gates.py",
        "shift = self.temperature * math.log(-LOW / HIGH)",
        "shift = math.log(-LOW / HIGH)",
        "tests/test_gates.py::"
        "test_the_price_of_a_gate_is_its_probability_not_to_be_zero",
    ),
    Mutant(
        "keras_nonconvex/regularizers/named_sparse_group.py",
        'own = Group(self.penalty, self.strength, "layer", None)',
        'own = Group(self.penalty, self.strength, "layer")',
        "tests/test_regularizers.py::"
        "test_l1_minus_l2_over_a_layer_is_split_from_the_groups",
    ),
]
