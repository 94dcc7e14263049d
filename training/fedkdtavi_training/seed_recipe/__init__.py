"""The published system's recipe as an arm of every comparison, in the same rounds, with the same networks and budget.

Landmarks are 4 mm spheres segmented as classes, learned with Dice and cross-entropy over the heads that are labelled,
pseudo-labels are hard, and a landmark is read out as the centroid of its class's largest component. What is scaled to
the budget: networks and crop are those of the other arms, and classes are told apart at their 2.5 mm instead of 1 mm.
It is switched on by ``"recipe": "spheres"`` in a training's ``loss``.
"""
