"""`Walk`: what a rule is given to declare channels with."""

import collections

from keras_nonconvex import graph
from keras_nonconvex.pruning import rules
from keras_nonconvex.pruning.channels.at_hand import CallAtHand
from keras_nonconvex.pruning.channels.balancing import Grouped
from keras_nonconvex.pruning.channels.balancing import balance
from keras_nonconvex.pruning.channels.uses import Gather
from keras_nonconvex.pruning.channels.uses import Use


class Walk(CallAtHand):
    """The pass over a model's graph, as a rule sees it.

    The rule of each layer is called with the walk, once per call of the
    layer. It declares through it which channels the layer makes, ties, reads
    and holds in its weights. A channel is an integer, its id. An array of ids
    names what runs along one axis of a tensor, and None stands for an axis of
    positions, from which nothing is ever removed.

    Most rules need `use` alone, and `make` where the layer makes channels of
    its own. The rest of what a rule may call:

    - `tie`, `tied`, `comparable`: channels that stay or go together;
    - `freeze`, `stuck`: channels that have to stay;
    - `mixes`, `needs_zero`: what holds a removed channel's constant back;
    - `argument`, `call`, `shapes`, `given`: the call at hand;
    - `new`, `roots`, `selected`, `pick`, `cut_arrays`, `cut_array`,
      `arguments`, `without_time`: rarely.

    Attributes:
        call: The call at hand, a `keras_nonconvex.graph.Call`.
        shapes: The output shapes of the call at hand, a list of tuples with
            the batch axis.
        given: The symbolic input tensors of the call at hand as Keras
            recorded them, masks left out: one per input of the rule.
        uses: What the rules declared so far, a list of `Use`.
        names: {id of a layer: its name}; "model/layer" if nested.
        made: {layer name: arrays of the ids that it makes}.
        gathers: {call: `Gather`}, where a normalization chooses channels.
        choices: {call: the axes that it hands its channels to}, where these
            are several.
        picks: {call: `Pick`}, where an operation chooses channels.
        arrays: {call: {(argument, axis): ids}}, arrays among the arguments
            that have channels of their own.
        mixing: (call, ids) where each channel changes what the others become.
        zeros_needed: (call, ids) where a removed channel has to be zero.

    Args:
        calls: The calls of a model, a list of `keras_nonconvex.graph.Call`.
        outputs: The tensors that it and the models in it return, a list.
        select: Whether a normalization may choose among its input's channels,
            as in `plan`. Defaults to `False`.
        chosen: {call: axis}: which of `choices` to take. Defaults to `None`:
            as the rules prefer.
    """

    def __init__(self, calls, outputs, select=False, chosen=None):
        super().__init__(chosen)
        self.select = select
        self._calls = calls
        self.uses = []
        self.names = {}
        self.made = collections.defaultdict(list)
        self.gathers = {}
        self.mixing = []
        self.zeros_needed = []
        self._known = {}
        self._declared = set()
        self._makers = {}
        self._readers = collections.Counter(
            id(t)
            for tensors in (outputs, *(call.inputs for call in calls))
            for t in tensors
        )
        self._calls_of = collections.Counter(id(c.operation) for c in calls)

    def enter(self, call):
        """Goes on to the next call. For the pass itself, not for rules.

        Args:
            call: A `keras_nonconvex.graph.Call`.

        Returns:
            The name of its layer.
        """
        super().enter(call)
        key = id(call.operation)
        name = self.names.setdefault(key, graph.name(call))
        self._makers.update((id(t), name) for t in call.outputs)
        self._makes = 0
        return name

    def make(self, count):
        """Ids of channels that the layer at hand makes.

        Where a shared layer is called again it makes the same ones, and
        others after these: a rule has to call `make` in the same order each
        time, but it may do so more often in one call than in another.

        Args:
            count: How many channels, an int.

        Returns:
            An int array of `count` ids.
        """
        ids = self.new(count)
        made = self.made[self.names[id(self.call.operation)]]
        self._makes += 1
        if self._makes > len(made):
            made.append(ids)
            return ids
        earlier = made[self._makes - 1]
        self.tie(ids, earlier)
        return earlier

    def use(self, layer, weight, axis, ids, role, groups=1):
        """Declares that an axis of a weight is indexed by channels.

        Scores, masks, cuts, folding and `CoupledGroups` all read this. Called
        again for the same axis (a shared layer), it ties the ids with the
        first ones.

        Args:
            layer: The layer.
            weight: One of its variables, or the name of the attribute that
                holds it.
            axis: The axis of that weight, an int; negative from the end.
            ids: One id per index of the axis. None stands for positions: what
                another call reads there has to stay.
            role: What the weight does to the channels. "filter" makes them;
                "bias" and "shift" are added to them; "scale" multiplies them;
                "input" reads them; "inner" reads them inside of the layer
                that makes them; "through" reads what an "input" weight of
                the layer makes of each, one index for each index of that
                weight's last axis; "state" belongs to them and is only cut.
            groups: In how many groups the filters, the weight's last axis,
                read them: see `Use`. Defaults to `1`.
        """
        variable = getattr(layer, weight) if isinstance(weight, str) else weight
        self._declared.add((id(self.call.operation), id(variable)))
        axis %= len(variable.shape)
        known = self._known.get((id(variable), axis))
        if ids is None:
            if known is not None:
                self.freeze(known, f"'{layer.name}' is also read elsewhere")
            elif self._calls_of[id(self.call.operation)] > 1:
                self._known[id(variable), axis] = self.stuck(
                    variable.shape[axis], f"'{layer.name}' reads what must stay"
                )
            return
        if known is not None:
            self.tie(known, ids)
            return
        self._known[id(variable), axis] = ids
        self.uses.append(
            Use(self.call.operation, variable, axis, ids, role, groups)
        )

    def balance_groups(self):
        """Ties the channels of convolutions in groups, once all is known."""
        filters = {id(u.variable): u for u in self.uses if u.role == "filter"}
        grouped = [
            Grouped(
                use,
                use.ids.reshape(use.groups, -1),
                filters[id(use.variable)].ids.reshape(use.groups, -1),
            )
            for use in self.uses
            if use.groups > 1
        ]
        whole = {id(use) for use in balance(self, grouped)}
        self.uses = [use for use in self.uses if id(use) not in whole]

    def only_reader(self, tensor):
        """The call that alone reads a tensor which nothing else needs.

        Args:
            tensor: A symbolic tensor of the graph.

        Returns:
            A `keras_nonconvex.graph.Call`; None if there is no such call.
        """
        if self._readers[id(tensor)] != 1:
            return None
        found = (c for c in self._calls if id(tensor) in map(id, c.inputs))
        return next(found, None)

    def freeze_held(self):
        """Freezes what a call holds without a rule that says how.

        This is a weight of another layer, held by a layer or an argument.
        """
        uses = collections.defaultdict(list)
        for use in self.uses:
            uses[id(use.variable)].append(use)
        for call in self._calls:
            name = self.names[id(call.operation)]
            for held in {id(v) for v in graph.variables(call)}:
                if (id(call.operation), held) in self._declared:
                    continue
                for use in uses.get(held, ()):
                    self.freeze(use.ids, f"'{name}' holds their weights too")

    def stuck(self, count, reason):
        """Fresh ids that have to stay.

        Args:
            count: How many, an int.
            reason: Why, in words, such as "'add' joins it". The plan prints
                it.

        Returns:
            An int array of `count` ids.
        """
        ids = self.new(count)
        self.freeze(ids, reason)
        return ids

    def tied(self, meeting, layer):
        """Ties what meets on one axis of several tensors.

        Args:
            meeting: Id arrays of one length, or None for positions. Where
                both meet, the channels have to stay.
            layer: The layer in which they meet, for the reason.

        Returns:
            The ids of the result's axis, None if there are no channels.
        """
        known = [ids for ids in meeting if ids is not None]
        for ids in known[1:]:
            self.tie(known[0], ids)
        if len(known) < len(meeting) and known:
            self.freeze(known[0], f"'{layer.name}' joins it with positions")
        return known[0] if known else None

    def comparable(self, inputs, layer):
        """Inputs that have channels on the same axes.

        Where one input has channels and another has positions, the latter
        gets ids that have to stay.

        Args:
            inputs: A list of `Tensor`, all of one rank.
            layer: The layer that they enter, for the reason.

        Returns:
            A list of `Tensor`.
        """
        labelled = {axis for x in inputs for axis in x.labelled}
        return [
            rules.Tensor(
                x.shape,
                tuple(
                    self.stuck(x.shape[axis], f"'{layer.name}' joins it")
                    if ids is None and axis in labelled and x.shape[axis]
                    else ids
                    for axis, ids in enumerate(x.axes)
                ),
            )
            for x in inputs
        ]

    def mixes(self, x, axis):
        """Says that each channel of an axis changes what the others become.

        A channel that enters here is read, even if no weight reads it, and
        what comes out is not constant.

        Args:
            x: An input, a `Tensor`.
            axis: The axis along which the layer mixes.
        """
        if x.axes[axis] is not None:
            self.mixing.append((self.call, x.axes[axis]))

    def needs_zero(self, ids):
        """Says that a removed channel has to be zero here, not a constant.

        Args:
            ids: Channel ids of an input, or None for positions.
        """
        if ids is not None:
            self.zeros_needed.append((self.call, ids))

    def selected(self, x, axis):
        """What enters a normalization that may choose among its channels.

        Args:
            x: Its input, a `Tensor`.
            axis: Its channel axis.

        Returns:
            `x`, or with `select` a `Tensor` with ids of its own on the axis,
            where others read the same channels.
        """
        ids = x.axes[axis]
        (tensor,) = self.call.inputs[:1]
        made_here = self._makers.get(id(tensor)) in self.made
        alone = self._readers[id(tensor)] == 1
        if not self.select or ids is None or (made_here and alone):
            return x
        self.freeze(ids, "its readers select from it")
        chosen = self.make(len(ids))
        self.gathers[self.key] = Gather(axis, ids, chosen)
        return x.with_ids(chosen, axis)
