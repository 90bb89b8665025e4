from pathlib import Path

import pytest

from astra.products.layout import (
    alert_path,
    family_folder,
    product_folder,
    product_path,
    template_manifest_path,
    template_path,
)


def test_products_lie_where_the_design_says():
    folder = product_folder("root", "sdss", 4192, 2, "ProcessCcd-0a")
    assert folder == Path("root/products/sdss/4192/2/ProcessCcd-0a")
    assert product_path("root", "sdss", 4192, 2, "ProcessCcd-0a", kind="calexp") == folder / "calexp.fits"
    templates = Path("root/products/sdss/templates")
    assert template_path("root", "sdss", 77, "t") == templates / "77" / "t" / "template.fits"
    assert template_path("root", "sdss", 77, "t", kind="inputs") == templates / "77" / "t" / "inputs.fits"
    assert template_manifest_path("root", "sdss", "t") == templates / "ingested" / "t.json"
    assert family_folder("root", "0.1", "sdss4.SpecFile") == Path("root/products/0.1/sdss4.SpecFile")
    assert alert_path("root", 4192, 2) == Path("root/alerts/4192_2.avro")


@pytest.mark.parametrize("part", ["", "..", "../up", "a/b", "a\\b", ".hidden", "nul\0"])
def test_a_part_that_would_leave_its_place_is_refused(part):
    with pytest.raises(ValueError, match="one part of a path"):
        product_folder("root", part, 1, 2, "t")
    with pytest.raises(ValueError, match="one part of a path"):
        product_folder("root", "sdss", 1, 2, part)
    with pytest.raises(ValueError, match="one part of a path"):
        product_path("root", "sdss", 1, 2, "t", kind=part)
    with pytest.raises(ValueError, match="one part of a path"):
        template_path("root", "sdss", 77, part)
    with pytest.raises(ValueError, match="one part of a path"):
        template_manifest_path("root", "sdss", part)
    with pytest.raises(ValueError, match="one part of a path"):
        family_folder("root", "0.1", part)


def test_a_visit_that_is_not_a_number_is_refused():
    with pytest.raises(ValueError, match="invalid literal"):
        product_folder("root", "sdss", "../1", 2, "t")
