"""A site dataset: the CTs of one hospital with what is known of them, as the module writes and training reads it.

    site/site.json
    site/cases/<case>/ct.nii.gz, landmarks.mrk.json, calcification.seg.nrrd, annulus.mrk.json, labels.json

``labels.json`` says per label what is ground truth (:mod:`~fedkdtavi_core.labels.record`). Which CT of the hospital a
case is stands in a key file beside the site's folder, never in it.
"""
