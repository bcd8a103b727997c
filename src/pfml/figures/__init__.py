"""Figures, a file each: what the figure shows, how it is computed and how it is drawn (PNG and PDF).

overview      Figure 1 of the paper: from a batch and its proxies to potentials, forces and a step
field         Figure 2: the class potentials of two classes in the plane, PFML beside CPML
ablation      Figure 3: R@1 of PFML along each of its settings, above the published curves
gallery       Figure 4: queries with the test images nearest to them, PFML beside the best baseline
map           Figure 5: test images where t-SNE puts their embeddings
training      test R@1 and training loss over epochs
force         force against distance of every loss, measured by autograd
memorisation  what wrong labels do to training: R@1 lost, labels fitted and resisted
proxy         proxies among the training embeddings that they stand for
style         colours, dashes and markers of all figures; how a figure is made and saved
thumbnails    small pictures of a dataset's images, for the gallery and the map
"""
