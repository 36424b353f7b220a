"""How high a learning rate is, and what stands beside it."""

from __future__ import annotations

from nanautopsy import thresholds
from nanautopsy.causes.interface import Case, Weighing
from nanautopsy.learning_rates import (
    Rate,
    endless_momentum,
    how_high,
    long_momentum,
    steps_with_the_loss,
    turning_decay,
)
from nanautopsy.wording import phrase


def weigh_height(case: Case, rate: Rate, weighing: Weighing) -> None:
    """The rate, times what its momentum adds up, over what is usual for the optimizer."""
    factor = how_high(case.run, rate.value)
    if factor >= thresholds.EXTREME_LR_FACTOR:
        strength = thresholds.STRONG
    elif factor >= thresholds.HIGH_LR_FACTOR:
        strength = thresholds.MODERATE
    else:
        usual = "optimizer" in case.run.facts and factor <= 1 / thresholds.HIGH_LR_FACTOR
        if usual and factor > thresholds.LOW_LR_FACTOR:
            weighing.speaks_against(
                thresholds.WEAK,
                phrase("the learning rate reaches {rate:g}, which is usual", rate=rate.value),
                rate.source,
            )
        if factor <= thresholds.LOW_LR_FACTOR and steps_with_the_loss(case.run) is None:
            weighing.speaks_against(
                thresholds.MODERATE,
                phrase(
                    "the learning rate reaches {rate:g}, far below what is usual", rate=rate.value
                ),
                rate.source,
            )
        return
    momentum = long_momentum(case.run)
    text = phrase(
        "the learning rate reaches {rate:g}, {factor:.0f} times what is usual",
        rate=rate.value,
        factor=factor,
    )
    if momentum is not None:
        text = phrase(
            "the learning rate reaches {rate:g} with a momentum of {momentum:g}, together "
            "{factor:.0f} times what is usual",
            rate=rate.value,
            momentum=momentum,
            factor=factor,
        )
    weighing.speaks_for(
        strength,
        text,
        rate.source,
    )


def weigh_settings(case: Case, rate: Rate, weighing: Weighing) -> None:
    """Settings beside the rate with which every step makes the next one longer."""
    momentum = endless_momentum(case.run)
    if momentum is not None:
        weighing.speaks_for(
            thresholds.DECISIVE,
            phrase("a momentum of {momentum} forgets no gradient", momentum=momentum.value),
            momentum.source,
        )
    product = turning_decay(case.run, rate.value)
    if product is not None:
        weighing.speaks_for(
            thresholds.DECISIVE,
            phrase(
                "learning rate times weight decay is {product:g}: each step multiplies the weights "
                "by {factor:.3g}",
                product=product,
                factor=1 - product,
            ),
            case.run.facts["weight_decay"].source,
        )
