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
    "repetition_loss": Caption(
        "Two line plots over updates, one colour an arm: training and validation loss, and validation minus training loss.",
        "Training loss is the mean over the updates of one log line and has dropout; validation has none, so the gap may begin below "
        "zero. An arm that learns its examples by heart has a gap that grows. Marks stand at some of the validations.",
    ),
    "repetition_differences": Caption(
        "Forest plot of each arm's held-out loss minus another arm's, in per cent, with intervals.",
        "Paired differences on the same held-out positions. Dotted: the size that C3.1 asks for; dashed: that of C3.2 for diverse "
        "minus narrow. Small strokes above a mark are single seeds.",
    ),
    "repetition_memorisation": Caption(
        "Line plot of the recovered share of masked tokens, seen minus unseen examples, over the times an example was drawn.",
        "Seen examples by how often training drew them, each minus the unseen examples of the same run; intervals over examples, or "
        "over seeds with three or more. Arms with equal times stand side by side. Zero: seen text is filled in no better than unseen text.",
    ),
    "repetition_frequency": Caption(
        "Two dot plots by the target's frequency group, one colour an arm: held-out loss, and its difference to the all-distinct arm.",
        "Loss on held-out text by how often the masked token occurs in the training split. Right: paired differences as a share of the "
        "all-distinct arm's loss in that group.",
    ),
    "repetition_geometry": Caption(
        "Four line plots over a row's exposure, one colour an arm: mean cosine, cosine to the common vector, and both minus "
        "the all-distinct arm's.",
        "Rows in bins of equal exposure, so that a token that is rare but repeated is compared with one that was seen as often. Where the "
        "arms' lines lie on one another, geometry follows from exposure alone. Bins of fewer than 10 rows are left out.",
    ),
    "repetition_similarity": Caption(
        "Line plots over updates of Spearman's correlation of cosines with human similarity scores, one colour an arm.",
        "Word similarity of the embedding table over snapshots, as it is and less the common vector, over the pairs whose words are one "
        "token each. The intervals over pairs stand in the table below: few pairs make them wide, and small differences say nothing.",
    ),
    "cause_drift": Caption(
        "Line plots over updates, one colour an arm, one column a table: norm of the common vector over the mean norm, mean cosine, "
        "Spearman of token count against cosine, IsoScore.",
        "r is drawn on a logarithmic axis that ends at 0.001; what is below stands at its edge. Dotted: the bounds of D3. Dashed: the size "
        "that the mean of independent rows has by chance. IsoScore is of the snapshots, all else of the recorded statistics.",
    ),
    "cause_loss": Caption(
        "Line plots of validation loss over updates, one colour an arm; tied arms left, untied right.",
        "Validation loss of the training log. Where arms lie on one another, the paired differences below tell them apart.",
    ),
    "cause_differences": Caption(
        "Forest plot of each arm's held-out loss minus Adam's, in per cent, with intervals.",
        "Paired differences on the same held-out positions with the same masks, seed by seed. Filled: tied; hollow: untied. Small strokes "
        "above a mark are single seeds. D4 asks that Coupled Adam and SGD, tied, lie left of the dotted line with their intervals.",
    ),
    "cause_frequency": Caption(
        "Dot plots by the target's frequency group, one colour an arm: held-out loss minus Adam's in per cent.",
        "The same differences by how often the masked token occurs in the training split, as a share of Adam's loss in that group.",
    ),
    "cause_mechanisms": Caption(
        "Left, stacked bars of the parts of each table's drift with the drift itself as a diamond; right, the parts as shares with intervals.",
        "The drift of the mean of all rows, split by what moved it: the rows' own second moments, the summed gradients under one second "
        "moment, and weight decay. A gap between a bar's end and the diamond is the error of recording some of the updates only. Where a "
        "mean moved no further than chance, there are no shares.",
    ),
    "cause_roles": Caption(
        "Dot plot of each role's share of the push along the drift, one line a table.",
        "Which use of a row pushes the mean along the drift: as input, as the softmax's target, or as one of its negatives, each under the "
        "arm's rule and without momentum. Shares of their sum; tables without drift, or where the roles cancel, are left out.",
    ),
    "cause_groups": Caption(
        "Line plots over frequency groups, one colour an arm, one panel a table: how far rows were moved along the common vector.",
        "Sum over the updates of the mean movement of the group's rows along the common vector of that moment. Unreachable rows are rows that "
        "no text can ask for: they move only as the softmax's negatives and by weight decay.",
    ),
    "cause_gradients": Caption(
        "Bar charts over frequency groups of the net gradient along the common vector by the role of the rows.",
        "Summed over the updates and the rows of a group, downhill, as a share of the summed lengths of all rows' gradients. At a head whose "
        "gradients sum to zero, target and negative cancel over all rows. Each panel has a scale of its own.",
    ),
    "cause_zero_sum": Caption(
        "Line plots over updates, logarithmic, of the norm of the head's summed gradient over the summed lengths, one colour an arm.",
        "Near the precision of the numbers, the head's gradients sum to zero over the vocabulary. D1 asks for less than the dotted line.",
    ),
    "cause_second_moment": Caption(
        "Left, scatter plot of the second moment of a row against its token count with two fits; right, R² and Spearman over updates.",
        "Left: each dot is a seen token. The line is fitted to the numbers as they are, so frequent tokens decide it; drawn on logarithmic axes it "
        "bends. The power law is fitted to the logarithms. Right: the same R² and Spearman's correlation at each recorded update.",
    ),
    "cause_similarity": Caption(
        "Dot plots with intervals of Spearman's correlation of cosines with human similarity scores, one line a table.",
        "Word similarity of the last snapshots, of the table as it is and less the common vector. Where both agree, the drift did no harm to "
        "the order of the cosines.",
    ),
    "cause_isotropy": Caption(
        "Scatter plots of isotropy against held-out loss and word similarity, one mark a table of an arm, with intervals.",
        "Isotropy by three measures across, loss and word similarity up. More isotropic is not better by itself: no claim is decided here.",
    ),
    "sharing_parameters": Caption(
        "Stacked bars of each arm's parameters: embedding tables, and all else.",
        "Parameters as counted in the model, tied tables once. The layers are the same in all arms; the saving is a whole number of tables, "
        "so its share depends on how large the vocabulary is beside the layers.",
    ),
    "sharing_quality": Caption(
        "Four dot plots with intervals: BLEU and chrF of each arm, and their paired differences between arms.",
        "Left: scores. Right: differences, the same sentences in both arms; small strokes above a mark are single seeds. Intervals of the "
        "scores overlap more than those of the differences, because hard sentences are hard for all arms.",
    ),
    "sharing_speed": Caption(
        "Line plot over rounds of the target tokens a second of the arms with shared tables, divided by those of the arm without.",
        "Each round trains every arm for one update on one batch, in an order drawn anew. The marks at the right are total tokens over "
        "total seconds.",
    ),
    "sharing_types": Caption(
        "Forest plot of the differences in BLEU to the arm without sharing, by type of sentence, with intervals.",
        "Intervals are plain 95 % intervals of each type by itself; the verdict's are wider, because it picks the largest of several types. "
        "A sentence may belong to several types.",
    ),
    "sharing_frequency": Caption(
        "One panel an arm: median mean cosine over the token count, one line for each embedding table.",
        "Mean cosine of a row to all other counted rows of its table, by how often the token occurs on the sides that the table serves. "
        "Tokens of a table that never occur on its side stand at 0. Fainter lines are further seeds.",
    ),
    "sharing_alignment": Caption(
        "Three dot plots of how alike pairs of embedding tables are, by group of tokens: CKA, Procrustes residual, shared neighbours.",
        "Likeness of the same tokens' rows in two tables, whatever the rotation and scale. Crosses: the same with rows in random order. Strokes: at the first recorded update; arms of one seed begin with the same "
        "first table, so that what `all` and the encoder of `none` have in common is partly where they began. "
        "Tokens of one side have been trained in one of the tables only, or at most as negatives of the output.",
    ),
    "sharing_learning": Caption(
        "Line plots over updates, one colour an arm: training and validation loss, and validation BLEU where it was logged.",
        "Training loss is the mean over the updates of one log line and has dropout; validation has none.",
    ),
}


VERDICTS: dict[str, dict[str, str]] = {
    "holds": {"symbol": "✓", "css": "holds", "meaning": "value and interval satisfy the rule"},
    "does not hold": {"symbol": "✗", "css": "fails", "meaning": "the whole interval fails the rule"},
    "inconclusive": {"symbol": "?", "css": "open", "meaning": "neither, or the run was too short to tell"},
    "not run": {"symbol": "–", "css": "idle", "meaning": "nothing to measure yet"},
}


def caption(name: str) -> Caption:
    """The caption of a figure by its file's name without ending; a plain one for figures not listed."""
    words = name.replace("_", " ")
    return CAPTIONS.get(name, Caption(f"Figure: {words}.", f"{words.capitalize()}."))
