"""The claims, with published figures, and the rules fixed for their verdicts before any run.

C1 to C7 are the study's, in its own words. D1 to D6 are this project's: what others found of decoder-only models with tied
heads, asked of a masked LM; `source` says where the figure was published, and docs/cause.md has the rules in full.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Statement:
    """One claim: its words, its published figure (None: a plot, or none), how it is measured and decided.

    `source` is where the figure was published; empty for the study's own claims.
    """

    id: str
    text: str
    figure: float | None
    measure: str
    rule: str
    needs_learning: bool = False
    source: str = ""

    @property
    def own(self) -> bool:
        """Is it this project's claim and not the study's?"""
        return self.id.startswith("D")


COUPLED_ADAM = "arXiv 2502.08441 (Coupled Adam), decoder-only models with tied heads"


def _own_statements() -> dict[str, Statement]:
    """The claims of E5, on what makes the tables drift (docs/cause.md)."""
    table: list[tuple[str, str, float | None, str, str]] = [
        (
            "D1",
            "at the head, the gradients of all rows of the table sum to zero",
            None,
            "norm of the summed gradient of the head over the summed norms of all rows' gradients, median over recorded updates, for Adam "
            "tied and for the output table of Adam untied",
            "each < 0.01",
        ),
        (
            "D2",
            "a row's second moment follows its token count",
            0.85,
            "R^2 of the line of a row's second moment on its token count, seen tokens, Adam tied, median over the last half of the recorded "
            "updates",
            "> 0.7; the published R^2 are 0.85 to 0.91",
        ),
        (
            "D3",
            "Coupled Adam and SGD on the embedding remove the drift",
            0.03,
            "norm of the common vector over the rows' mean norm, last update, tied: Coupled Adam, SGD, and Adam, whose drift there is to remove",
            "Coupled Adam and SGD < 0.05 each, Adam > 0.5; with Adam at most 0.5 inconclusive, unless one of the two is above 0.5; published: "
            "0.82 with Adam, 0.03 with Coupled Adam",
        ),
        (
            "D4",
            "Coupled Adam and SGD on the embedding cost no loss",
            None,
            "held-out loss, tied, minus Adam's, as a share of Adam's, paired by seed: Coupled Adam, SGD",
            "each < +0.005 with its interval",
        ),
        (
            "D5",
            "word similarity rises where Coupled Adam removes the drift",
            0.52,
            "Spearman of raw cosines with the human scores of WordSim-353, last snapshot, tied, Coupled Adam minus Adam",
            "> +0.05 with its interval above 0; published: from 0.05 to 0.57, a mean over several word lists",
        ),
        (
            "D6",
            "untied, the drift lives on the output table",
            None,
            "norm of the common vector over the rows' mean norm, last update: Adam untied, output table minus input table; and Coupled Adam "
            "untied, output table",
            "the difference > +0.3, and the second < 0.05",
        ),
    ]
    return {entry[0]: Statement(*entry, source=COUPLED_ADAM) for entry in table}


def _statements() -> dict[str, Statement]:
    table: list[tuple[str, str, float | None, str, str]] = [
        (
            "C1.1",
            "over training, the mean cosine similarity between all tokens rises",
            None,
            "mean pairwise cosine of counted rows, last update minus update 0",
            "> +0.05, and the rank correlation of the curve with the update number > 0.5",
        ),
        (
            "C1.2",
            "frequent tokens end with a lower cosine to the other tokens",
            None,
            "mean cosine of the most frequent group minus that of all rows, last update",
            "< -0.05",
        ),
        (
            "C1.3",
            "rare tokens are updated in a similar direction and end with a high cosine",
            None,
            "mean cosine of rare (seen) minus frequent group; and the share of an update's squared length along the "
            "direction common to the group, rare minus frequent",
            "both > +0.05",
        ),
        (
            "C2.1",
            "log frequency against a token's mean cosine: Pearson",
            -0.2022,
            "Pearson, mean cosine against log count, seen tokens (and log(count + 1), all rows)",
            '< -0.1; the study\'s "weak" is compared in words',
        ),
        (
            "C2.2",
            "log frequency against a token's mean cosine: Spearman",
            -0.8044,
            "Spearman, mean cosine against log count, seen tokens (and log(count + 1), all rows)",
            "< -0.5",
        ),
        (
            "C2.3",
            "zero-count tokens have a high cosine to the other embedding vectors",
            None,
            "mean cosine of zero-count rows minus that of seen rows",
            "> +0.05",
        ),
        (
            "C3.1",
            "plainly repeating the same data makes the model memorise: worse generalisation, over-fitting",
            None,
            "held-out loss, repeated arm minus all-distinct arm at equal updates and tokens, paired by seed; and "
            "memorisation (seen minus unseen recovery)",
            "loss worse by > 1 % and memorisation > 0.02",
        ),
        (
            "C3.2",
            "repeating high-quality or diverse data can improve pre-training efficiency and downstream performance",
            None,
            "held-out loss and downstream score, diverse pool against random and narrow pools at the same k",
            "diverse better than narrow by > 0.5 % of the loss, not worse than random",
        ),
        (
            "C4.1",
            "cosine to the common vector (the mean of all embedding vectors) rises early in training",
            None,
            "cosine to the common vector, mean over rows: update 0 to the end of the first tenth",
            "rises by > 0.1",
        ),
        (
            "C4.2",
            "later it oscillates while sentences are learned",
            None,
            "after the first tenth: power of the detrended series above the noise of independent batches, by group",
            "ratio > 2 (the null from permuted increments)",
        ),
        (
            "C4.3",
            "zero-count tokens keep a high cosine to the common vector throughout",
            None,
            "zero-count group's cosine to the common vector from the first tenth on",
            "minimum > 0.5",
        ),
        (
            "C5.1",
            "12-layer model, parameters seen in the embedding space: lower layers (0-6) form distinct, concentrated "
            "clusters (grammatical, syntactic patterns)",
            None,
            "concentration of the projected parameter vectors (mean cosine to the 10 nearest of the same layer and kind, mean "
            "over kinds): least-squares slope over the 12 layers; and the same of the differences to the untrained models",
            "both < 0, each with its interval over layers, the second widened by the scatter of the untrained models",
        ),
        (
            "C5.2",
            "higher layers (7-11) are spread out (semantic patterns)",
            None,
            "concentration of the projected parameter vectors: mean of layers 0-6 minus mean of layers 7-11; and the same of "
            "the differences to the untrained models",
            "both > 0, each with its interval over layers (Welch), the second widened by the scatter of the untrained models",
        ),
        (
            "C6.1",
            "sharing the encoder and decoder embedding matrix: parameters",
            -0.20,
            "parameters of `all` against `none`",
            "between -15 % and -25 %",
        ),
        (
            "C6.2",
            "sharing the encoder and decoder embedding matrix: BLEU",
            -1.5,
            "BLEU of `all` minus `none`",
            "interval below 0 (holds), above 0 (does not), else inconclusive; -1.5 is compared",
        ),
        (
            "C6.3",
            "sharing the encoder and decoder embedding matrix: training speed",
            0.15,
            "tokens a second of `all` over `none`, interleaved",
            "interval above 1.05",
        ),
        (
            "C6.4",
            "slight loss of quality in particular contexts, none to speak of in ordinary sentences",
            None,
            "BLEU difference by sentence type",
            "largest type's loss at least twice the ordinary one's",
        ),
        (
            "C7.1",
            "after PCA (50 components) and t-SNE, tokens of one semantic or grammatical category cluster: colours "
            "(red, green, blue), pronouns (he, she, they), sizes (big, small, large)",
            None,
            "k-NN purity over chance, for each of colours, pronouns and sizes, in the full space; silhouette and purity against random sets "
            "alike in form and token count",
            "each > 2 with its interval over tokens, and p < 0.01 for silhouette and purity, corrected by Holm over all categories",
        ),
        (
            "C7.2",
            "opposites are close as well: big/small, liberal/conservative",
            None,
            "cosine of opposites minus that of pairs alike in form and token count",
            "> +0.05 with its interval over pairs, and p < 0.01 against random pairs",
        ),
        (
            "C7.3",
            "month names (January, February, March, ...) cluster",
            None,
            "k-NN purity of the months over chance, in the full space; silhouette and purity against random sets alike in form and token "
            "count",
            "> 2 with its interval over tokens, and p < 0.01 for silhouette and purity, corrected by Holm over all categories",
        ),
    ]
    return {entry[0]: Statement(*entry, needs_learning=entry[0][:2] in ("C3", "C5", "C7")) for entry in table}


STATEMENTS = _statements() | _own_statements()
