"""The words around the figures: for each figure what it shows (for those who do not see it) and how to read it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Caption:
    alt: str
    text: str


CAPTIONS: dict[str, Caption] = {
    "training_loss": Caption(
        "Line plot of training and validation loss over updates, with the corpus' unigram entropy as a dashed line.",
        "Training loss (mean over the updates of one log line) and validation loss. Below the dashed line the model knows "
        "more than the tokens' frequencies; claims C3, C5 and C7 need a validation loss below the dotted one.",
    ),
    "learning_mean_cosine": Caption(
        "Line plot of the mean cosine to all other tokens over updates, one line for each frequency group.",
        "Mean cosine of the rows to all other counted rows, by frequency group. Unreachable rows (dashed) are rows that no "
        "text can ask for: they move only as the softmax's negatives.",
    ),
    "learning_ends": Caption(
        "For each frequency group, the spread over tokens of the mean cosine at the first and at the last snapshot.",
        "Spread over tokens at the first and at the last snapshot: 5 to 95 %, the middle half, and the median.",
    ),
    "learning_update_shared": Caption(
        "Line plot over updates of the share of an update that lies along the frequency group's common direction.",
        "Share of an update's squared length along the direction that the rows of a group have in common. Near 1, the rows "
        "of the group are all pushed the same way.",
    ),
    "frequency_cosine": Caption(
        "Scatter plot of token count, logarithmic, against mean cosine, with the median and quantile bands of each bin.",
        "Each dot is a token. Bands hold 5 to 95 % and 25 to 75 % of the tokens of a bin; tokens that never occur stand at 0.",
    ),
    "frequency_correlation": Caption(
        "Line plot over updates of Pearson's and Spearman's correlation of log count and mean cosine.",
        "Correlation of frequency and mean cosine at each recorded update, with the study's figures as dotted lines.",
    ),
    "common_vector_cosine": Caption(
        "Line plots over updates: cosine to the common vector by frequency group, and the norm of the common vector.",
        "Above: mean cosine to the common vector. Below: length of the common vector beside the mean length of a row.",
    ),
    "common_vector_oscillation": Caption(
        "Line plot of the cosine to the common vector after the first tenth of training, less its trend.",
        "What is left of the series after its trend is taken off. The ratio compares its power with that of the same "
        "increments in random order; independent increments give about 1.",
    ),
    "isotropy": Caption(
        "Six line plots over updates: measures of isotropy of the raw, centred and standardised table.",
        "Isotropy beyond the mean cosine. Each measure is of all counted rows, so nothing is sampled; several seeds are drawn "
        "one by one. More isotropic is not better by itself, and no claim is decided here.",
    ),
    "isotropy_dimensions": Caption(
        "Line plot of how much of the mean cosine the largest dimensions make, at the first and the last snapshot.",
        "Whether a few dimensions make the mean cosine: parts of it, largest dimensions first.",
    ),
    "map": Caption(
        "Scatter plot of tokens after PCA and t-SNE, category words marked by colour, marker and label.",
        "The last snapshot's map as the study draws it: PCA to 50 components, then t-SNE. It is a picture and decides nothing: "
        "t-SNE shows groups in noise as well, and distances between groups mean nothing.",
    ),
}


VERDICTS: dict[str, dict[str, str]] = {
    "holds": {"symbol": "✓", "css": "holds", "meaning": "the whole interval satisfies the rule"},
    "does not hold": {"symbol": "✗", "css": "fails", "meaning": "the whole interval fails the rule"},
    "inconclusive": {"symbol": "?", "css": "open", "meaning": "neither, or the run was too short to tell"},
    "not run": {"symbol": "–", "css": "idle", "meaning": "nothing to measure yet"},
}


def caption(name: str) -> Caption:
    """The caption of a figure by its file's name without ending; a plain one for figures not listed."""
    words = name.replace("_", " ")
    return CAPTIONS.get(name, Caption(f"Figure: {words}.", f"{words.capitalize()}."))
