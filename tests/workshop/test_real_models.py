"""The page about real models says what is computed from their shapes now."""

from labkit.workshop import real_models


def test_the_page_holds_the_table_as_it_is_computed_now():
    page = real_models.PAGE.read_text(encoding="utf-8")
    assert f"{real_models.BEGIN}\n{real_models.table()}\n{real_models.END}" in page


def test_the_fit_is_ten_times_below_its_range_at_the_bases_width():
    assert real_models.fitted_rate(2000) == 5e-5
    assert round(real_models.fitted_rate(192), 5) == 0.00031
