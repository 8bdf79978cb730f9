"""The words around the figures of E2."""

from __future__ import annotations

from captions import Caption

CAPTIONS: dict[str, Caption] = {
    "layers_parameters": Caption(
        "Four line plots over layers: concentration, coherence, entropy and silhouette of parameter vectors, for the trained model and "
        "its controls.",
        "Parameter vectors seen in the embedding space, mean over kinds of vector. Concentration: how near a vector's nearest fellows of "
        "its layer lie. What lies on the controls' lines is no effect of training on this text. Grey line: between the study's lower and "
        "higher layers.",
    ),
    "layers_kinds": Caption(
        "One line plot for each kind of parameter vector: concentration over layers, for the trained model and its controls.",
        "Concentration by kind of vector: what feed-forward units detect (key) and write (value), and what attention heads read and write. "
        "Singular vectors of attention have no sign, so absolute cosines are taken of them; compare a kind with its own controls.",
    ),
    "layers_homogeneity": Caption(
        "Line plots over layers: how far the nearest tokens of a parameter vector share a grammatical or semantic label, against chance.",
        "Pairs of labelled tokens among a vector's 10 nearest that share a label, corrected for chance. Few tokens have a label, so wide "
        "intervals and gaps are to be expected; the numbers of pairs stand in the text.",
    ),
    "layers_states": Caption(
        "Line plots over layers of the hidden states' anisotropy, self-similarity, intra-sentence similarity, intrinsic dimension, IsoScore, "
        "and of a probe where there is one.",
        "Hidden states of held-out text after each layer (emb.: the embedding's output). Self-similarity falls where states depend on their "
        "context; similarity to the example's mean rises where they take up their text.",
    ),
    "layers_cka": Caption(
        "Two matrices of linear CKA between the hidden states of all layers, trained and untrained, and a line plot of trained against "
        "untrained by layer.",
        "How alike the layers' states are, whatever their rotation and scale: 1 for equal geometry, 0 for unrelated. Neighbouring layers of "
        "an untrained model are alike as well, because each adds to the same stream.",
    ),
    "layers_map": Caption(
        "Two scatter plots of one t-SNE map of parameter vectors, the lower layers coloured in one and the higher in the other.",
        "The study's kind of picture, of the trained model. It decides nothing: t-SNE shows groups in noise as well, and distances between "
        "groups mean nothing.",
    ),
}
