from wsss_lightning.steps.labels import step_info, step_label


def test_the_label_of_a_step_is_its_usual_name():
    assert step_label("none") == "seeds without refinement"
    assert step_label("affinity_crf") == "affinity + CRF"


def test_the_label_of_an_unknown_refiner_is_its_key():
    assert step_label("my_refiner") == "my refiner"


def test_a_round_precedes_the_step():
    assert step_label("round_2/none") == "round 2, seeds without refinement"


def test_an_unknown_refiner_is_ordered_between_seeds_and_pseudo_masks():
    names = ["segmentation", "my_refiner", "pseudo", "round_1/seeds", "irn_crf"]
    ordered = sorted(names, key=lambda name: step_info(name).order)
    assert ordered == ["round_1/seeds", "irn_crf", "my_refiner", "pseudo", "segmentation"]
