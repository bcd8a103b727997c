"""Wrong labels fitted and resisted: told apart by the neighbours of their images, by hand."""

import numpy as np

from pfml.retrieval.memorisation import label_fit, neighborhoods, shares


def at(*degrees):
    """Unit vectors of the plane."""
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)


def test_a_neighbourhood_is_what_most_of_the_others_carry():
    points, labels = at(0, 1, 2, 3, 90, 91, 92), np.array([5, 0, 0, 0, 1, 1, 5])
    np.testing.assert_array_equal(neighborhoods(points, labels, np.array([0, 6, 4]), k=3), [0, 1, 1])


def test_a_label_is_no_vote_for_itself():
    points, labels = at(0, 1, 2), np.array([7, 4, 4])
    assert neighborhoods(points, labels, np.array([0]), k=2) == [4]


def test_of_equal_votes_the_nearest_counts():
    points, labels = at(0, 5, -6, 7, -8), np.array([9, 1, 2, 2, 1])
    assert neighborhoods(points, labels, np.array([0]), k=4) == [1]
    assert neighborhoods(points[[0, 2, 1, 4, 3]], labels, np.array([0]), k=4) == [2]


def test_shares_of_nothing_are_not_a_number():
    assert shares(np.array([1, 2, 3]), np.array([1, 0, 0]), np.array([0, 2, 3])) == (1 / 3, 2 / 3)
    assert np.isnan(shares(np.array([]), np.array([]), np.array([]))).all()


def test_shares_of_all_wrong_labels_among_all_embeddings():
    """Of eight images by two centres two carry a wrong label: one lies with its kind, one with its label."""
    points = at(0, 1, 2, 3, 90, 91, 92, 2.5)
    true, given = np.array([0, 0, 0, 0, 1, 1, 1, 1]), np.array([0, 0, 0, 1, 1, 1, 1, 0])
    assert label_fit(points, given, true) == (0.5, 0.5)
    assert label_fit(5 * points, given, true) == (0.5, 0.5)
    assert np.isnan(label_fit(points, true, true)).all()
