"""The words of other languages for what a training logs, in English."""

from __future__ import annotations

import re

_CHINESE = {
    "损失": "loss", "困惑度": "perplexity", "准确率": "accuracy", "学习率": "learning rate",
    "梯度": "grad", "范数": "norm", "缩放": "scale", "验证": "val", "测试": "test", "训练": "train",
    "全局": "global", "总": "total", "步数": "step", "步骤": "step", "步": "step",
    "迭代": "iteration", "轮次": "epoch", "轮数": "epoch", "轮": "epoch", "周期": "epoch",
    "批次": "batch", "批": "batch", "时间": "time", "耗时": "time", "用时": "time",
    "剩余": "remaining", "速度": "speed", "显存": "memory", "内存": "memory",
    "最大": "max", "最小": "min", "最佳": "best", "最优": "best",
}  # fmt: skip
"""Longer terms before those that they begin with, as in all of these tables."""
_JAPANESE_AND_KOREAN = {
    "損失": "loss", "学習率": "learning rate", "正解率": "accuracy", "精度": "accuracy",
    "勾配": "grad", "ノルム": "norm", "検証": "val", "訓練": "train", "学習": "train",
    "エポック": "epoch", "ステップ": "step", "イテレーション": "iteration", "バッチ": "batch",
    "손실": "loss", "학습률": "learning rate", "정확도": "accuracy", "기울기": "grad",
    "노름": "norm", "검증": "val", "훈련": "train", "학습": "train",
    "에포크": "epoch", "에폭": "epoch", "스텝": "step", "단계": "step", "배치": "batch",
}  # fmt: skip
_ALPHABETIC = {
    "verlust": "loss", "schritt": "step", "epoche": "epoch", "lernrate": "learning rate",
    "genauigkeit": "accuracy", "gradientennorm": "grad norm", "validierung": "val",
    "pérdida": "loss", "perdida": "loss", "paso": "step", "época": "epoch", "epoca": "epoch",
    "iteración": "iteration", "exactitud": "accuracy", "validación": "val",
    "taux d'apprentissage": "learning rate", "tasa de aprendizaje": "learning rate",
    "taxa de aprendizado": "learning rate", "tasso di apprendimento": "learning rate",
    "apprentissage": "learning rate", "norme": "norm", "gradiente": "gradient", "norma": "norm",
    "perte": "loss", "pertes": "loss", "étape": "step", "époque": "epoch", "époch": "epoch",
    "itération": "iteration", "précision": "accuracy",
    "perda": "loss", "passo": "step", "iteração": "iteration", "acurácia": "accuracy",
    "perdita": "loss", "iterazione": "iteration",
    "потери": "loss", "потеря": "loss", "лосс": "loss", "шаг": "step", "эпоха": "epoch",
    "итерация": "iteration", "точность": "accuracy", "градиент": "grad", "градиента": "grad",
    "норма": "norm", "скорость обучения": "learning rate", "валидация": "val",
}  # fmt: skip
"""German, Spanish, French, Portuguese, Italian and Russian: as whole words."""
_WORDS = re.compile(
    rf"(?<![^\W_])(?:{'|'.join(sorted(_ALPHABETIC, key=len, reverse=True))})(?![^\W_])",
    re.IGNORECASE,
)
_SIGNS = _CHINESE | _JAPANESE_AND_KOREAN

_ARTICLE = re.compile(r"(?<=norm )(?:d[ueo]|d[ae]l|dell?[ao]?|d[ae]s|de la|der) (?=grad)")
"""Between the words of what is one in English: ``norme du gradient``."""

LOSSES = ("损失", "損失", "손실", "verlust", "rdida", "perte", "perda", "perdita", "отер")
"""Parts of the words for a loss, without the letters that have another form as capitals: only those
of ASCII are folded."""


def in_english(name: str) -> str:
    """With the words for quantities of training translated."""
    if not name.isascii():
        for sign, english in _SIGNS.items():
            name = name.replace(sign, f" {english} ")
    return _ARTICLE.sub("", _WORDS.sub(lambda word: _ALPHABETIC[word[0].lower()], name))
