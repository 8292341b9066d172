"""Settings that Keras can't run under a strategy are refused before tracing, with what to do."""

from fresh_process import run_alone
from test_replicas import TWO_REPLICAS


def test_refused_early():
    run_alone(
        TWO_REPLICAS,
        """
    import contextlib, re
    from keras_tag import GroupedModel, Grouping, TAGModel
    from tag_models import LOSS, mlp

    x, y = one_device.data(16)
    Adam = keras.optimizers.Adam
    nowhere = contextlib.nullcontext()

    def refused(message, build=mlp, optimizer=Adam, scopes=(True, True, True), wrap=TAGModel,
                **compiled):
        model, wrapped, compiling = (strategy.scope() if s else nowhere for s in scopes)
        try:
            with model:
                network = build()
            with wrapped:
                tag = wrap(network)
            with compiling:
                tag.compile(optimizer(), loss=LOSS, **compiled)
            tag.fit(x, y, batch_size=8, verbose=0)
        except ValueError as error:
            assert re.search(message, str(error)), error
        else:
            raise AssertionError(f"not refused: {message}")

    def grouped(network):
        return GroupedModel(Grouping.from_groups([("a", "b", "c")]), lambda tasks: network)

    for wrap in (TAGModel, grouped):
        refused("gradient_accumulation_steps=2. Use a larger batch", wrap=wrap,
                optimizer=lambda: Adam(gradient_accumulation_steps=2))
        refused("ema_overwrite_frequency=None under", wrap=wrap,
                optimizer=lambda: Adam(use_ema=True, ema_overwrite_frequency=2))
        refused("steps_per_execution=1 under", wrap=wrap, steps_per_execution=2)
        refused("the optimizer to be made in the strategy's scope.*with strategy.scope",
                scopes=(True, True, False), wrap=wrap)
        refused("the model to be made in the strategy's scope", scopes=(False, True, True),
                wrap=wrap)
    refused("made in the scope in which the wrapped model was made", scopes=(True, False, False))
    """,
    )
