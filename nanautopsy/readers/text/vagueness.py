"""Lines that speak of NaN without saying that something is: speculation, denials, source code.

Samples::

    loss might become NaN if the rate is too high
    0 of 48 layers have NaN gradients
    non-finite layers: []
    if torch.isnan(loss):
"""

from __future__ import annotations

import re

SPECULATION = re.compile(
    r"\b(?:might|may|could|can|would|should|will|if|whether|unless|when|in case|until|instead"
    r"|avoid\w*|prevent\w*|ignor\w*|check(?:s|ing|ed)?(?! failed|:| it:)(?: for)?|handl\w*|without"
    r"|detection|policy|possibl\w*|potential\w*|likely|usually|often|sometimes|expected|assum\w*"
    r"|shown as|cannot be computed"
    r"|ensure|never|fewer|safe|zeroed|zero_infinity|discard\w*|exclud\w*"
    r"|guard\w*|protect\w*|filter\w*|replac\w*|fill(?:s|ed|ing)?(?: with)?|fillna|drop\w*"
    r"|remov\w*|default|placeholder|(?:set|convert\w*|cast) .{0,20}to nan|try|consider|e\.g"
    r"|(?:is|are) normal|harmless|benign|by design|example|terminate_?on|nan[_-]?check"
    r"|disable\w*|enabl\w*|treat(?:s|ed|ing)?|imput\w*|interpolat\w*|omit\w*|range test"
    r"|lr[ _-]?find(?:er|ing)?|ours|reference implementation|baselines? (?:\[\d+\] )?diverg\w*"
    r"|as intended|trial #?\d+|hyperparam\w*|hyperband|population member"
    r"|(?:previous|earlier|last|other|another) (?:run|job|attempt|experiment|version))\b"
    r"|,? (?:are|is|was|were) set to (?:[01]|zero|one|the mean|the median)\b|, masked\b"
    r"|\bmasked out\b",
    re.IGNORECASE,
)
_NEGATION = re.compile(
    r"(?<!\d)0\s?(?:of|/)\s?(?:the )?\d+\s+(?:\w+\s+)?(?:layers|modules|params|parameters|tensors"
    r"|leaves|grads|gradients|weights|samples|batches|values|elements)\b"
    r"|\b0\s+(?:non-?\s?finite|bad|invalid)\b"
    r"|\b(?:nan|inf|non-?\s?finite)s?\b[^:=]{0,40}[:=]\s*(?:\[\]|\{\}|\(\)|set\(\)|none\b)"
    r"|\bnone (?:of|has|have|is|are)\b"
    r"|\bno (?:layer|module|param|tensor|grad|weight|sample|batch)\w*\b|"
    r"\b(?:no|not|zero|without|free of|0)\s+(?:any\s+|more\s+)?(?:nans?|infs?|infinit"
    r"|non-?\s?finite)"
    r"|(?:\bnot|n't) (?:become|turn\w*|go|gone|hit|reach\w*|contain\w*|produc\w*|return\w*|show\w*)"
    r" (?:\w+ )?(?:nan|inf)"
    r"|\bnans?\b[^:=?]{0,20}\?\s*(?:False|no|none|0)\b|\bin 0 (?:of|/) \d+"
    r"|\b(?:nan|inf)s? (?:is|are) not (?!finite)|(?<=,) set to (?:[01]|zero|one)\b"
    r"|\b(?:nan|inf)\s*\((?:no|empty|0|none|not|without|undefined|skipped|n/a|disabled|off|unused)\b"
    r"|\bnans?\b\D{0,30}[:=]\s*(?:0(?![.\d])|False|None|no)\b|\bnumber of (?:nan|inf)\w*"
    r"|\bnot (?:nan|inf)\b|\bnan\w* (?:count|iterations|ratio|frac\w*)\b"
    r"|\bnon-?\s?finite\b[^\d:=]{0,30}[:=]\s*(?:0|False|None|no)\b",
    re.IGNORECASE,
)
CODE = re.compile(
    r"is_?nan|is_?inf|isfinite|nan_to_num|nan_?_?inf_?_?filter|float\(|np\.nan|torch\.nan|math\.nan"
    r"|\bif\b.*:\s*$|^\s*(?:assert|raise|def|return|print|import|from|elif|while)\b|(?<!-)--[\w-]*nan"
    r"|\bnan\w*\s*=\s*(?:True|False)|=\s*f?[\"']|\+=|['\"]\)\s*$|==\s*nan|!=|%s|%f|\{\w+\}",
    re.IGNORECASE,
)


def is_vague(text: str) -> bool:
    """Speculation, a denial, or source code."""
    return any(pattern.search(text) for pattern in (SPECULATION, _NEGATION, CODE))
