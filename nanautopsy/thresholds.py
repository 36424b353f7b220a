"""Every number that decides, with its unit and where it comes from.

Strengths are log-odds: evidence adds up, and a cause's probability follows from its sum against
its rivals and against *something else* (see :mod:`nanautopsy.diagnose`).
"""

from __future__ import annotations

from collections.abc import Mapping

# --- strengths of evidence, in log-odds ---------------------------------------------------------

PRIOR = -2.5
"""Log-odds of any one cause before evidence: about one in twelve of the failures with a known
cause (twenty-one causes; the commonest, fp16 overflow, has 34 of the 176 collected cases)."""
DECISIVE = 4.5
"""Alone it makes a cause likely (0.88 against nothing else): it is hardly seen without it."""
STRONG = 3.0
"""Alone it makes a cause possible (0.62), with any second piece likely."""
MODERATE = 1.5
"""Common with the cause, uncommon without it; two of them do not reach the floor alone."""
WEAK = 0.7
"""Fits the cause and fits others too."""
SUREST = 0.999
"""No sum of evidence says more: there are failures that no rule knows of."""
SHARPNESS = 1.5
"""Power of the odds of a cause's share that makes it a probability, so that answers sound as sure
as they turn out to be. ``tests/corpus/calibrate.py`` fits 3, the end of its grid, on the tuning
part (114 failed runs: Brier 0.029, against 0.043 at 1.5), because hardly an answer there is wrong.
The rules were written with that part in sight, so that this is an upper end. Used is a value that
lets what was said to be 0.6 (right in all of its 24 runs) become 0.65; on the test part 3 is worse
by cross-entropy (0.333 against 0.307)."""
PROBABILITY_FLOOR = 0.5
"""Below it the cause is undetermined: a cause is named only when it is likelier than all the
others and *something else* together."""
SURE_ANSWER = 0.8
"""From it on no experiment is proposed to tell a cause from its rivals: one independent piece of
moderate evidence more would not change what is named."""

# --- formats ------------------------------------------------------------------------------------

FP16_MAX = 65504.0
"""Largest finite float16 (IEEE 754 binary16: (2 - 2**-10) * 2**15)."""
FP32_EXP_MAX = 88.72
"""Natural logarithm of float32's maximum: the largest number whose exponential is finite."""
AT_CHANCE = 0.05
"""Share by which a first cross-entropy may miss the logarithm of the number of classes: logits of
a deviation of 0.3 add 0.05 to it."""
KEYS_LOG = 9.0
"""Natural logarithm of the keys of a long row, 8,000: how far below the end of an exponential the
sum of as many ends."""
FP16_EXP_MAX = 11.09
"""The same of float16's."""
FP16_NEAR_MAX = 6.0e4
"""A magnitude as near to the maximum as the frame before the Inf in the published fp16 dumps
(transformers' debugging guide and transformers#5651 show 6.3e4 to 6.6e4)."""
FP16_LARGE = 1.6e4
"""A quarter of the maximum: one factor of four, which a residual sum or a product of a few terms
covers, is left."""

GRID_CHANCE = -9.0
"""Power of ten of the chance that numbers which no float16 held all lie on its grid: no archive
holds a billion metrics."""

# --- masked numbers -----------------------------------------------------------------------------

SENTINEL_RELATIVE = 2e-7
"""How near to sqrt(n) a grad norm must be to be DeepSpeed's sentinel. float32 keeps 1.2e-7;
1.4142135623730951 is printed in full and 1.4142135 when it went through float32."""
SENTINEL_MAX_GROUPS = 16
"""Largest number of parameter groups for which the sentinel sqrt(n) is looked for."""
SENTINEL_REPEATS = 3
"""Repeats needed where sqrt(n) is a whole number, which a clipped or rounded norm can be."""

ORDINARY_LOSS = 0.1
"""A loss on both sides of an exact 0.0 that a sound objective does not leave for one step."""

# --- loss scaling -------------------------------------------------------------------------------

SCALER_WARMUP_SKIPS = 16
"""Skips that finding the scale takes from 2**16 to 1 (halving each time): torch's GradScaler and
DeepSpeed start at 2**16; apex at 2**16 too."""
SEARCHING_SCALE = 2.0**7
"""A loss scale down to which a search that begins at 2**16 and above need not be over. By
judgement: scales that settle below it leave gradients of 1e-6 less than three binary places."""
SCALE_LEAST_INTERVAL = 100
"""Steps between two probes of a settled scale, at least: torch and apex double it after 2000 good
steps, DeepSpeed after 1000, hand-written loops after some hundred."""
SCALE_PATHOLOGICAL = 1.0
"""A loss scale at or below 1 helps nothing (pytorch#99640): gradients that overflow unscaled."""
SCALE_COLLAPSE_SKIPS = 8
"""Skips in a row, without one good step between, that no healthy search shows after warmup:
2**8 is more than the range of a normal gradient distribution."""
SCALE_EXHAUSTED_SKIPS = 24
"""Skips in a row that exhaust a scale that the log does not tell: they halve even 2**32, with
which ColossalAI and older DeepSpeed begin, to 2**8, and any usual one to below 1."""

# --- learning rate ------------------------------------------------------------------------------

LR_JUMP_FACTOR = 5.0
"""A rise within one logged step by this factor is no schedule: warmups are linear in steps, and
from the second step of a linear warmup on the ratio of neighbours is at most 2."""
LR_JUMP_WINDOW = 50
"""Logged points after a learning-rate jump within which its effect shows: an unstable mode grows
by a constant factor a step, so it leaves float32 within tens of steps, not hundreds."""
LR_CALM_POINTS = 5
"""Points at the usual level after a jump that speak against it: growth by a constant factor a
step shows within a few of them."""
LR_CALM_STEPS = 2
"""The same where every step is logged: from a usual level no growth reaches float32's maximum in
one step. One step is no sign, since a rate may be logged before it is used."""
LR_WARMUP_POINTS = 3
"""Points at the beginning of a schedule that are no history to compare with."""

# --- growth and divergence ------------------------------------------------------------------------

GROWTH_FACTOR = 10.0
"""A grad norm or loss this much above its own median before is no noise: the 99.9th percentile
of healthy grad norms in the public logs lies below five times the median."""
SUDDEN_FACTOR = 3.0
"""A grad norm within this factor of its own median has not begun to grow."""
AGREED_POINTS = 5
"""Different values that several ranks share, exactly as printed, before they are taken for one
reduced number: two independent losses of four digits agree five times once in 1e16."""
HUGE_FIRST_LOSS = 1e8
"""A first logged loss behind updates that only weights which blew up give: cross-entropies end
below 1e3, and squared errors of targets that nobody scaled mostly below."""
STEEP_GRADIENT = 30.0
"""Norm of the whole gradient before any update, over the root of the loss or 1: below 4 in all of
the 255 first rows of the corpus' tuning part whose weights were sound."""
UNSCALED_LOSS = 1e4
"""A loss before any update above which the usual rates of plain gradient descent, whose steps grow
with the loss, are not usual."""
STAYS_DEAD = 0.9
"""Share of the points behind the first non-finite one that are so too, where single batches with
bad numbers would let most others pass. By judgement."""
CALM_POINTS = 5
"""Gradient norms or losses before a sudden end that show their usual level."""
DIVERGED_FACTOR = 3.0
"""Final loss over initial loss, both medians, for a run that was destroyed while finite."""
HARDER_EXCESS = 1.5
"""Rise of a loss over the rise of the difficulty of its task, up to which the one explains the
other: a sum over what is masked grows with the share of it, and somewhat more."""
LEAP_FACTOR = 30.0
"""Peak over first value of a loss that its first updates threw out of its range for good: by
judgement, above the noise of batches and any objective that changes."""
NEVER_LEARNED_FACTOR = 2.0
"""Final over initial loss for a run that never got better than it began."""
NEVER_LEARNED_BEST = 0.9
"""A best level (mean of three neighbours) above this share of the first value is no learning."""
NORMAL_MAD = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""
NOISE_DEVIATIONS = 3.0
"""Deviations of its noise, in the logarithm, that a loss must have risen by: one run in seven
hundred begins so far below its level by chance."""
SATURATED_SOFTMAX = 87.33654
"""Minus the logarithm of float32's smallest normal number, at which Caffe and others cut off the
probability that a cross-entropy takes the logarithm of."""
NEVER_LEARNED_POINTS = 20
"""A run that never got better must have had the time to: the first points of a healthy run with a
high rate rise too (coordinate checks of ten steps do)."""
FLOAT32_SQUARE_MAX = 1.8e19
"""Square root of float32's maximum: second moments of gradients at this scale are Inf, so that
an adaptive optimizer's steps are zero."""
NEW_OBJECTIVE_MAX = 1e8
"""No change of what is minimized lifts a loss by more: the sum over a batch of images (64 times 3
times 512 times 512 is 5e7) where the mean had been."""
RUNAWAY_DOUBLINGS = 3
"""Factors of two and more from point to point, one after the other, at which a log ends: noise and
single spikes have no such run."""
RUNAWAY_FACTOR = 100.0
"""How far above all that it had been a loss must have come with them."""
ABSURD_LOSS = 1e15
"""A finite loss that measures nothing: sums over a billion elements of errors of a thousand squared
stay below it."""
RISEN_FOR_GOOD = 1e9
"""Factor over its beginning at which a loss or a norm that stays there did not belong there."""
MOVING_POINTS = 3
"""Points of an accuracy or a reward that show whether it moves."""
RESUMED_OBJECTIVE_MAX = 1e3
"""The same where a run was resumed, which is also where a state is lost: the sum over a batch."""
SUCCESS_LEARNED = 0.1
"""Share of its best level by which a measure of success must have risen to tell of learning, or
half of its errors be gone: on classes of unequal size accuracy begins high and stays whatever
happens."""
SUCCESS_KEPT = 0.8
"""Share of what was learned that a run which was not destroyed still shows at its end."""
LEARNED_SHARE = 0.75
"""A loss that came below this share of its first level had learned something to lose."""
SUM_POINTS = 8
"""Steps for each term from which a total is told from what happens to go along with it."""
SUM_MISFIT = 0.02
"""Share of the spread of a total, or of its widest term, that rounding to three digits leaves."""
SUM_ROUNDING = 1e-5
"""Share of a total's spread that float32 leaves of an exact sum."""
SUM_WORSE = 5.0
"""How much worse a sum is without a term that belongs to it."""
MOST_TERMS = 12
"""Terms of a loss; more are per-layer or per-class numbers."""
BACK_AT_START = 0.1
"""Relative distance to its first level within which a loss is back where it began."""
ABOVE_START = 1.25
"""First rows behind a resume over the first of the run, up to which they begin where it began: by
judgement, the scatter of a first batch."""
STILL_LEARNING = 0.97
"""Last third over middle third after a collapse, medians, below which a loss still falls."""
OVERSHOOT_FACTOR = 1.5
"""Peak over the level after it that a collapse shows and a new term of the loss does not."""
STAGE_WINDOW = 3
"""Logged points before a rise within which a stated change of what is trained explains it."""
STAGE_POINTS = 8
"""Points on either side of a stated change that show its two levels."""
BEYOND_CHANCE = 20.0
"""Nats of a cross-entropy per symbol that guessing among 4.8e8 of them gives: no vocabulary is as
large, so that a model above it is worse than none."""
LOST_POINTS = 4
"""Rows on either side of a jump of the learning rate that show what was lost."""
RISEN_MIN_POINTS = 10
"""Rows without which a loss that turned while the rate rose shows no level."""
RISEN_FACTOR = 1.3
"""A level over the first and the usual one that no noise and no rising rate of a sound warmup
gives: losses fall while they warm up."""
DIVERGED_TAIL = 0.2
"""Share of the points at the end that must all lie high: a spike that came back is not it."""
DIVERGED_MIN_POINTS = 16
"""Fewer logged points than this show no trend: the first ten steps of a sound recipe may rise."""

# --- weights --------------------------------------------------------------------------------------

WEIGHTS_EXPLODE = 1.0e3
"""Growth of the median weight's largest magnitude between sound checkpoints of one run: training
makes weights of usual initializations grow by factors of one to a hundred."""
WEIGHT_GROWTH = 4.0
"""Growth of one weight's largest magnitude over the others' median: two doublings, which the same
learning rate does not give one tensor alone."""
PROJECTION_GROWTH = 3.0
"""Growth of query or key projections, over that of the other weights, that counts: attention
logits grow with the product, so threefold each is ninefold."""
CORE_SHARE_NEW = 0.5
"""Share of a model's blocks newly initialized above which the checkpoint was not this model's; a
new head or pooler leaves the blocks alone."""
FIRST_STEPS = 3
"""Steps that count as the beginning: weights are still those that were loaded or initialized,
or a few updates away."""
FIRST_ROW = 10
"""Step of a first logged row that still tells of the first steps: the interval of the Trainer's
examples and of most loops; a warmup has hardly begun by then."""
ATTENTION_LOGIT_LARGE = 1.0e4
"""Attention logits of trained models stay below about 1e2 (ViT-22B reports instability above
5e4, without normalized queries and keys)."""

ATTENTION_LOGIT_USUAL = 1.0e2
"""Up to it a predicted logit is that of trained models (published maxima of GPT-2, LLaMA and ViT-B
lie between 10 and 100)."""

ATTENTION_LOGIT_ODD = 1.0e3
"""From it on a predicted logit is told of."""

# --- single bad points ----------------------------------------------------------------------------

ISOLATED_POINTS = 2
"""Logged points that one bad batch may touch: an average over a window reaches into the next."""
RECURRENCES = 3
"""Equal distances need three points; two are any two."""
ZEROES_BESIDE_NAN = 2
"""Losses that are NaN exactly where a count is 0: a single one may be chance."""
MOST_BAD_BATCHES = 16
"""Batches or samples that come back epoch by epoch: more of them are a property of the data set."""
PEAK_FACTOR = 1.1
"""A metric's value over its highest before, from which it is a peak and no rounding."""
ABSURD_INPUT = 1.0e3
"""An input statistic over its own median: inputs are normalized, or bounded by their encoding;
a factor of 256 separates pixels of 0 to 255 from those of 0 to 1."""
INPUT_HISTORY = 4
"""Points without which an input statistic has no usual level."""

# --- odd weights ----------------------------------------------------------------------------------

ABSURD_WEIGHT = 1.0e6
"""A weight's largest magnitude over the median of all weights' largest: uninitialized memory and
flipped exponent bits give such values, initializers and training give factors of hundreds."""
FIRST_LOSS_MAX = 1.0e4
"""A first loss below it was not computed with weights that are a million times too large."""
LEVEL_LOST = 10.0
"""First loss over the one that the weights had when they were saved, from which on something was
lost between: fine-tuning on other data begins at two or three times as much (a language model's
1.5 becomes 3), random weights of a model that had learned at ten times and more."""
HANDFUL = 16
"""Elements that count as a few: a flipped bit is one; a damaged page holds thousands."""

# --- learning rates that are usual ----------------------------------------------------------------

USUAL_LR = {
    "adam": 3e-3,
    "sgd": 0.5,
    "lion": 3e-4,
    "adafactor": 3e-2,
    "lamb": 2e-2,
    "rmsprop": 1e-2,
}
"""Upper ends of what published recipes use: Adam 1e-3 (its paper) to 3e-3 (small transformers,
Karpathy's note, muP's proxies), SGD 0.1 with batch 256 scaled linearly to 0.4 (arXiv 1706.02677),
Lion 3 to 10 times below AdamW (arXiv 2302.06675), Adafactor 1e-2 with relative steps (arXiv
1804.04235), LAMB 1.76e-2 for BERT (arXiv 1904.00962), RMSprop 1e-2 (TensorFlow's examples)."""
USUAL_MOMENTUM = 0.9
"""Momentum of the recipes that the rates of SGD belong to; its steps add up to 1 / (1 - it)."""
DECAY_LIMIT = 2.0
"""Rate times decoupled weight decay above which a step turns every weight around and makes it
larger: it is multiplied by 1 minus the product."""
EXPLODED = 1e6
"""Growth of a loss over its usual level that a few updates past the limit of stability give: a
hundredfold thrice, where a bad batch adds one outlier."""
HIGH_LR_FACTOR = 3.0
"""Above the usual by this much a rate needs an explanation."""
EXTREME_LR_FACTOR = 30.0
"""Above the usual by this much a rate is a mistake."""
LOW_LR_FACTOR = 1 / EXTREME_LR_FACTOR
"""Below the usual by this much a rate is an odd suspect: something else made the steps long."""
LONG_SOUND = 200
"""Logged points of a loss that did not rise. Steps past the limit of stability multiply errors:
where only by 1.1, by 1e8 in 200."""
TINY_LR = 1e-7
"""Below it a rate moves no weight far enough to break it in a run's first steps."""
EARLY_SHARE = 0.1
"""Share of the logged points within which growth is from the start."""
EARLY_POINTS = 3
"""Logged points that are the start of a short log."""
GROWTH_POINTS = 3
"""Points over which half of a gradient's growth, in powers, is spread: one or two may be one bad
batch."""
RL_HISTORY = 10
"""Points of a policy's metric without which it has no usual level."""

LOAD_SPREAD = 0.6
"""Share of the tokens that the busiest expert gets at most, where routing is spread."""
LOAD_COLLAPSED = 0.95
"""From it on the other experts learn nothing: of 20 tokens one goes elsewhere."""

# --- resumes --------------------------------------------------------------------------------------

RESUME_WINDOW = 5
"""Points on either side of a resume that are compared."""
RESUME_JUMP: Mapping[str, float] = {
    "loss": 1.5,
    "grad_norm": 5.0,
    "learning_rate": 2.0,
    "loss_scale": 16.0,
}
"""Ratio of medians after and before a resume that a continued run does not show: losses vary by
tens of percent, gradient norms by small factors, schedules by percents within a few points, and a
loss scale by one doubling."""

# --- reinforcement learning -----------------------------------------------------------------------

KL_BLOWN = 10.0
"""A divergence this far above its own median has left the policy it should stay near to."""
KL_FAR = 1.0
"""Nats between a policy and its reference that no recipe allows: targets are 0.01 to 0.1 (PPO's
implementations), and 1 means that the policies hardly overlap."""
UPDATE_KL_FAR = 10.0
"""Nats between a policy before and behind an update that no noise of its estimate gives: one sample
of a thousand whose ratio is 1e4."""
VALUE_BEYOND = 1e4
"""Predicted values over the largest return that was logged: rewards are scaled for training by
factors of ten to a hundred."""
VALUE_BEYOND_STEP = 1e5
"""The same over the largest reward of one step, of which a value sums up a hundred and more."""
VALUE_SHARED = 0.1
"""Share of either limit that is enough for a value whose error is beyond all returns too. By
judgement: two signs at a tenth weigh as one at the whole."""
ERROR_SHARED = 10.0
"""Root of such an error over the value at which it left what returns can give: a hundred of the
largest, which no scale of rewards for training makes of an error."""
VALUE_LEFT = 1e-3
"""Share of that limit from which on a value has left what returns can give: ten of the largest."""
GAME_LOST = 1e4
"""Losses of both players of a game, beside a hundredfold of their first level: critics that are
kept Lipschitz stay below the diameter of the data, and logistic losses below 100."""
REWARD_LOST = 0.9
"""Share of what a reward had gained that is gone again."""
REWARD_NOISE = 5.0
"""Deviations of its noise from row to row by which a reward must have fallen."""
ENTROPY_GONE = 0.1
"""Share of its first level below which an entropy says that the policy is deterministic."""
ADAM_EPSILON_MIN = 6e-8
"""Smallest epsilon that float16 can hold: its smallest subnormal is 2**-24 = 5.96e-8."""
ADAM_EPSILON_DEFAULT = 1e-8
"""torch.optim.Adam, AdamW and optax.adam."""
