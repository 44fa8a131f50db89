from wsss_lightning.steps.labels import step_name


def test_steps_are_named_for_what_they_are():
    assert step_name("none") == "seeds without refinement"
    assert step_name("affinity_crf") == "affinity + CRF"


def test_a_refiner_of_ones_own_keeps_its_name():
    assert step_name("my_refiner") == "my refiner"


def test_rounds_stand_before_the_step():
    assert step_name("round_2/none") == "round 2, seeds without refinement"
