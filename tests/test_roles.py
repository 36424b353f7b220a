"""What a metric is, by the tags that real programs log; a layer keeps the artifact's spelling."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanautopsy.model import SeriesRole
from nanautopsy.roles import classify
from nanautopsy.tag_words import words

GLOBAL: dict[SeriesRole, list[str]] = {
    "loss": [
        # transformers, TRL
        "loss", "train/loss", "train_loss", "train/nll_loss", "loss/policy_avg", "aux_loss",
        # Lightning
        "train_loss_step", "train_loss_epoch", "train/loss_epoch", "training_step_loss",
        # Megatron, nanotron, torchtitan, maxtext, t5x
        "lm loss", "lm-loss", "lm_loss", "mtp_1 loss", "load_balancing_loss", "z_loss",
        "moe/load_balancing_loss_layer_0", "loss_metrics/global_avg_loss", "learning/loss",
        "loss_metrics/global_max_loss", "cross_ent_loss", "loss_per_nontarget_token",
        # DeepSpeed, big_vision
        "Train/Samples/train_loss", "training_loss",
        # verl and other reinforcement learning
        "actor/pg_loss", "critic/vf_loss", "actor/kl_loss", "losses/value_loss", "policy_loss",
        "train/policy_gradient_loss", "reward_model/loss", "train/reward_loss",
        # Keras, Ultralytics, detectron2, mmcv
        "epoch_loss", "batch_loss", "lstm_output_loss", "train/box_loss", "train/dfl_loss",
        "total_loss", "loss_cls", "loss_box_reg", "decode.loss_ce", "loss_rpn_cls",
        # fairseq
        "nll_loss", "train_inner_loss",
        # hand-written
        "Total Loss", "Loss", "Train Loss", "Loss/train", "mean_loss", "loss/edit", "running_loss",
        "d_loss", "loss_G", "losses/d_loss", "loss_value", "cross_entropy_1", "train/cross_entropy",
        "bce", "train_mse", "cost", "train/cost", "xent", "NLL", "ELBO", "Conductor_Copper_loss",
        "initial_phi_port_port1_loss", "trainLoss", "TrainLoss", "損失/loss", "weighted_loss",
        "encoder_loss", "hidden_loss", "attention_loss", "train/loss/step", "lossTotal", "simloss",
    ],
    "eval_loss": [
        "eval_loss", "eval/loss", "val_loss", "val/loss", "val/loss_epoch", "valid_loss",
        "validation_loss", "validation_metrics/loss", "Validation Loss", "test_loss", "Test loss",
        "Loss/test", "Loss/val", "lm loss validation", "lm loss validation ppl", "predict_loss",
        "validation lm loss value", "val/box_loss", "dev/loss", "loss_val", "eval_nll", "valid/nll",
        "evaluation_loss_vs_iterations", "eval/cross_entropy",
        "Perplexity", "ppl", "valid_ppl", "eval/perplexity", "holdout_loss", "heldout/loss",
        "val.loss", "valLoss", "eval_set_loss", "eval/c4/CrossEntropyLoss",
    ],
    "grad_norm": [
        "grad_norm", "train/grad_norm", "grad-norm", "grad norm", "gradient_norm", "gnorm",
        "gradnorm", "GradNorm", "grad_norm/total", "total_grad_norm", "optim/total_grad_norm",
        "grad-norm vs samples", "actor/grad_norm", "critic/grad_norm", "l2_grads", "grad/norm",
        "gradients/norm", "global_grad_norm", "grad_norm_before_clip", "grad_norm/unclipped",
        "learning/grad_norm", "learning/raw_grad_norm", "grad_2.0_norm_total", "grad_l2_norm",
        "total_norm", "gradient/global_norm", "grad_norm_clipped", "max_grad", "grad.norm",
        "gradients/global_norm", "train/gradient_norm_step", "Gradient Norm", "grad_norm (step)",
        "debug/grad_norm", "grad_norm_avg", "norm/grad", "unclipped_norm",
        "grad norm (reduced)",
    ],
    "learning_rate": [
        "learn_rate", "LearnRate", "sched/learn_rate", "step_size", "stepsize", "optim/step_size",
        "learning_rate", "train/learning_rate", "lr", "learning-rate", "learning rate", "train/lr",
        "Train/Samples/lr", "lr-AdamW", "lr-AdamW/pg1", "lr-Adam/pg2", "lr/pg0", "x/lr0", "base_lr",
        "global_schedule", "Learning rate curve", "learning-rate vs samples", "actor/lr",
        "learning/current_learning_rate", "epoch_learning_rate", "optim/learning_rate_group0",
        "LR", "learningRate", "lr_0", "lr_group_1", "lr/encoder", "optimizer/lr",
    ],
    "loss_scale": [
        "dynamic_scale", "train/dynamic_scale",  # flax
        "loss_scale", "loss-scale", "loss scale", "loss-scale vs samples", "train/loss_scale",
        "Train/Samples/loss_scale", "grad_scale", "grad_scaler/scale", "amp/scale", "loss_scaler",
        "scaler/scale", "amp_scale", "grad_scaler", "gradscaler_scale", "lossScale",
    ],
    "skipped_steps": [
        "skipped_steps", "skipped iterations", "number of skipped iterations", "train/skipped",
        "skipped_batches", "num_skipped_steps",
    ],
    "counter": [
        "epoch", "train/epoch", "global_step", "train/global_step", "trainer/global_step", "step",
        "iteration", "iterations", "iter", "num_updates", "consumed samples", "num_tokens",
        "examples_seen", "train_samples_per_second", "eval_steps_per_second", "total_steps",
        "training/global_step", "epochs", "num_input_tokens_seen", "samples_seen", "batch",
        "inference_time", "tokens_seen", "train/num_input_tokens_seen",
    ],
    "other": [
        "losses/explained_variance", "losses/clipfrac",
        # names that hold the letters, not the meaning
        "info",  "loss_weight", "loss_weights/kl", "num-zeros", "lossless_ratio",
        "num_params", "hp_metric", "best_loss", "best_val_loss", "valid_best_loss", "nan_count",
        "frac_non_finite_loss", "num_nan_losses", "loss_spike_count", "lr-SGD-momentum",
        "lr-AdamW-weight_decay", "hidden_layers", "hidden_layer_size", "hidden_size", "loss_std",
        "params_count", "total_params", "trainable_params", "weight_decay", "gradient_accumulation",
        "grad_accum_steps", "gradient_clipping", "grad_clip", "output_length", "response/max",
        "normalized_reward", "loss_ratio", "skip_rate", "scale", "batch-size", "batch_size",
        # rewards, accuracies, divergences, memory, speed
        "reward", "rewards/chosen", "rewards/margins", "rewards/accuracies", "critic/rewards/mean",
        "logps/chosen", "logits/chosen", "kl", "objective/kl", "policy/entropy", "entropy",
        "actor/ppo_kl", "critic/score/mean", "completions/mean_length", "val/ratio", "accuracy",
        "train_accuracy", "val_acc", "edit/acc", "metrics/mAP50(B)", "metrics/precision(B)",
        "metrics/recall(B)", "eval/bleu", "mean_token_accuracy", "world-size", "throughput",
        "mem-allocated-bytes", "total_flos", "percentage", "seed", "Temperature", "Energy",
        "roi_head/num_bg_samples", "rpn/num_pos_anchors", "fast_rcnn/cls_accuracy", "uptime",
        "coco/bbox_mAP", "rewards/format", "actor/pg_clipfrac", "l2_updates", "edge/nan_inf",
        "Train/Eigenvalues/ModelBlockParam_0", "train/sine", "dropout/dropout_keep_probability",
        "learning_curve", "explained_variance", "rollout/ep_rew_mean", "fps", "psnr",
    ],
}  # fmt: skip

LAYERS: list[tuple[str, SeriesRole, str]] = [
    # attention
    ("attn_max_l3", "attention_logit", "l3"),
    ("max_attn_logit_2", "attention_logit", "2"),
    ("layers.0.attn.max_logit", "attention_logit", "layers.0.attn"),
    # gradients
    ("grad_norm/layers.0.mlp", "layer_gradient", "layers.0.mlp"),
    ("grad_norm/embed", "layer_gradient", "embed"),
    ("grad_norm/model.layers.3.self_attn.q_proj.weight", "layer_gradient",
     "model.layers.3.self_attn.q_proj.weight"),
    ("grad_2.0_norm/model.layers.0.weight", "layer_gradient", "model.layers.0.weight"),
    ("grad_inf_norm/fc1.bias", "layer_gradient", "fc1.bias"),
    ("gradients/transformer.h.0.attn.c_attn.weight#max_abs", "layer_gradient",
     "transformer.h.0.attn.c_attn.weight"),
    ("gradients/transformer.h.0.attn.c_attn.weight#count", "layer_gradient",
     "transformer.h.0.attn.c_attn.weight"),
    ("gradients/0.weight#max_abs", "layer_gradient", "0.weight"),
    ("gradients/graph_0conv1.weight#max_abs", "layer_gradient", "graph_0conv1.weight"),
    ("layers.0.linear.weight.grad#max", "layer_gradient", "layers.0.linear.weight"),
    ("fc1.weight/grad", "layer_gradient", "fc1.weight"),
    ("grad/transformer.blocks.0.attn_out.weight.norm", "layer_gradient",
     "transformer.blocks.0.attn_out.weight"),
    ("train/grad_norm/encoder.layer.11.output.dense.weight", "layer_gradient",
     "encoder.layer.11.output.dense.weight"),
    ("grad_norm_layer3", "layer_gradient", "layer3"),
    ("layer3_grad_norm", "layer_gradient", "layer3"),
    ("grad_norm/llm/layers/0/mlp/linear", "layer_gradient", "llm/layers/0/mlp/linear"),
    ("grad_norm/img/Transformer/encoderblock_0/MlpBlock_0/Dense_0/kernel", "layer_gradient",
     "img/Transformer/encoderblock_0/MlpBlock_0/Dense_0/kernel"),
    ("grad_norm/llm/embedder/input_embedding", "layer_gradient", "llm/embedder/input_embedding"),
    ("grad_norm/img/head/kernel", "layer_gradient", "img/head/kernel"),
    ("gradients/encoder/max", "layer_gradient", "encoder"),
    # parameters
    ("weights_norm/model.layers.0.self_attn.q_proj", "layer_parameter",
     "model.layers.0.self_attn.q_proj"),
    ("parameters/fc1.bias#max_abs", "layer_parameter", "fc1.bias"),
    ("param/transformer.blocks.0.attn_out.weight.norm", "layer_parameter",
     "transformer.blocks.0.attn_out.weight"),
    ("params/layers_0/kernel/norm", "layer_parameter", "layers_0/kernel"),
    ("layers.0.linear.weight#max", "layer_parameter", "layers.0.linear.weight"),
    ("layers.0.linear.bias#nonfinite", "layer_parameter", "layers.0.linear.bias"),
    ("conv1/weight", "layer_parameter", "conv1/weight"),
    ("layer1/weights/summaries/mean", "layer_parameter", "layer1/weights"),
    ("layer1/biases/summaries/histogram#max", "layer_parameter", "layer1/biases"),
    ("param_norm/decoder.layers.5", "layer_parameter", "decoder.layers.5"),
    # activations
    ("activations/layer1", "layer_activation", "layer1"),
    ("layer1/activations#max", "layer_activation", "layer1"),
    ("act/blocks.0/max", "layer_activation", "blocks.0"),
    ("hidden_states/layer_12/max_abs", "layer_activation", "layer_12"),
    ("mlp_act_abs_mean", "layer_activation", "mlp"),
    ("token_embedding_act_abs_mean", "layer_activation", "token_embedding"),
    ("activation_norm/model.layers.7.mlp.down_proj", "layer_activation",
     "model.layers.7.mlp.down_proj"),
    ("layers.5.out_absmax", "layer_activation", "layers.5"),
    ("layers.5.output_max", "layer_activation", "layers.5"),
    ("layers.5.mlp.act.max", "layer_activation", "layers.5.mlp.act"),
    ("layers.0.attn.output_proj.weight.norm", "layer_parameter",
     "layers.0.attn.output_proj.weight"),
    ("output_layer.weight/norm", "layer_parameter", "output_layer.weight"),
    ("grad/layers.0.hidden_norm", "layer_gradient", "layers.0.hidden_norm"),
    # attention
    ("attention/max_logit/layers.0", "attention_logit", "layers.0"),
    ("attn_logits/layer0/max", "attention_logit", "layer0"),
    ("attention_entropy/layer_3", "attention_logit", "layer_3"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("tag", "role"),
    [
        ("||\u2207||", "grad_norm"),
        ("global_norm", "grad_norm"),
        ("grad_mag", "grad_norm"),
        ("||w||", "layer_parameter"),
        ("theta_norm", "layer_parameter"),
        ("|g|", "grad_norm"),
        ("||grad||", "grad_norm"),
        ("train/|grad|_2", "grad_norm"),
        ("g_norm", "grad_norm"),
        ("fp16/scale", "loss_scale"),
        ("scaler/growth_tracker", "other"),
        ("max_grad_norm", "other"),
        ("losses/qf1_values", "other"),
        ("losses/approx_kl", "other"),
        ("losses/value_loss", "loss"),
        ("losses/kl", "loss"),
        ("losses/box", "loss"),
        ("l_kl", "loss"),
        ("train/l_total", "loss"),
        ("l_rate", "other"),
        ("mae", "other"),
        ("val/bpb", "eval_loss"),
        ("训练/损失", "loss"),
        ("验证损失", "eval_loss"),
        ("学习率", "learning_rate"),
        ("梯度范数", "grad_norm"),
    ],
)
def test_symbols_settings_and_other_languages(tag: str, role: SeriesRole) -> None:
    assert classify(tag) == (role, None)


@pytest.mark.parametrize(
    ("tag", "role"), [(tag, role) for role, tags in GLOBAL.items() for tag in tags]
)
def test_metrics_of_the_whole_run(tag: str, role: SeriesRole) -> None:
    assert classify(tag) == (role, None)


@pytest.mark.parametrize(("tag", "role", "layer"), LAYERS)
def test_metrics_of_a_layer(tag: str, role: SeriesRole, layer: str) -> None:
    assert classify(tag) == (role, layer)


@pytest.mark.parametrize(
    "tag",
    ["params-norm", "params-norm vs samples", "l2_params", "learning/param_norm", "weight_norm"],
)
def test_the_norm_of_all_weights_has_no_layer(tag: str) -> None:
    assert classify(tag) == ("layer_parameter", None)


@pytest.mark.parametrize(
    "tag", ["max_attn_logit", "attn_logit_max", "qk_logits_max", "train/attention_logits"]
)
def test_the_largest_attention_logit_has_no_layer(tag: str) -> None:
    assert classify(tag) == ("attention_logit", None)


@pytest.mark.parametrize("tag", ["diag/layer2/qk_absmax", "monitor/layer2/attn_max"])
def test_the_extreme_of_attention_in_a_family_of_diagnostics(tag: str) -> None:
    assert classify(tag) == ("attention_logit", "layer2")


@pytest.mark.parametrize(
    ("tag", "role"),
    [
        ("eval test 3 - train/loss", "loss"),
        ("bf16-val-run - loss", "loss"),
        ("loss-scale sweep - lr", "learning_rate"),
        ("run - eval/loss", "eval_loss"),
        ("Loss - Train", "loss"),
    ],
)
def test_the_name_of_a_run_before_the_metric_decides_nothing(tag: str, role: SeriesRole) -> None:
    assert classify(tag)[0] == role


@given(st.text())
def test_any_tag_has_a_role(tag: str) -> None:
    role, layer = classify(tag)
    assert role
    assert layer is None or layer


@given(
    st.text(alphabet="abl_./# :0129-norm", max_size=60),
    st.sampled_from(["grad_norm/", "params/", "", "activations/"]),
)
def test_a_layer_is_a_part_of_the_tag(name: str, prefix: str) -> None:
    _, layer = classify(prefix + name)
    assert layer is None or layer in prefix + name


def test_words_of_a_tag() -> None:
    assert words("Train/Samples/gradNorm_2") == ("train", "samples", "grad", "norm", "2")
    assert words("l2_grads") == ("l2", "grads")
    assert words("LRScheduler") == ("lr", "scheduler")


def test_an_output_that_leads_its_tag_is_no_part_of_the_path() -> None:
    assert classify("out_absmax/stages.1") == ("layer_activation", "stages.1")
    assert classify("grad_norms.out") == ("layer_gradient", "out")


def test_norms_as_formulas_write_them() -> None:
    assert classify("|g| cell.weight") == ("layer_gradient", "cell.weight")
    assert classify("||W|| cell.weight") == ("layer_parameter", "cell.weight")
    assert classify("|g|") == ("grad_norm", None)
    assert classify("|g| after reduce") == ("grad_norm", None)
