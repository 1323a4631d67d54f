"""Recipes: values are checked, test sets stay out of training sets, every batch has the same mixture."""

import io
from pathlib import Path

import pytest
from PIL import Image

from model.core.errors import MaepressError
from pipeline.train.recipe import ImageSet, MixedCrops, Recipe, assign_slots, read_recipe, sort_keys

SHIPPED = Path(__file__).parents[3] / "model/weights/recipe.yaml"


def grey(level: int, side: int = 96) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), (level, level, level)).save(buffer, "PNG")
    return buffer.getvalue()


def test_the_shipped_recipe_never_trains_on_test_sets() -> None:
    keys = [f"train/web/{group}-{i:03d}.jpg" for group in ("pixls", "pixlss", "mdextr", "kde") for i in range(60)]
    keys += [f"{folder}/{i}.jpg" for folder in ("train/imagenet-sample", "train/photos") for i in range(60)]
    keys += [f"clothing/{part}/hat/{i}.jpg" for part in ("train", "validation", "test") for i in range(60)]
    keys += [f"kodak/kodim{i:02d}.png" for i in range(24)]
    sets = sort_keys(read_recipe(SHIPPED), keys)
    used = {key for train, held_out in sets.values() for key in train + held_out}
    assert used == {
        key for key in keys if key.startswith(("train/web/kde", "train/imagenet", "train/photos", "clothing/train"))
    }
    for train, held_out in sets.values():
        assert held_out and not set(train) & set(held_out)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("sets: [", "not YAML"),
        ("sets: {}", "sets"),
        ("sets: {a: {keys: ['*'], crops: 0}}", "crops"),
        ("sets: {a: {keys: ['*'], crops: 1, scales: [0.9, 0.5]}}", "rising"),
        ("sets: {a: {keys: ['*'], crops: 1, colour: red}}", "colour"),
        ("- a\n- b", "recipe"),
    ],
)
def test_an_invalid_recipe_is_refused_in_one_line(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(MaepressError, match=complaint) as e:
        read_recipe(tmp_path / "recipe.yaml")
    assert "\n" not in str(e.value)


def test_a_recipe_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(MaepressError, match=r"none\.yaml cannot be read"):
        read_recipe(tmp_path / "none.yaml")


def test_a_set_without_images_is_named() -> None:
    recipe = Recipe(sets={"web": ImageSet(keys=("web/*",), crops=1)})
    with pytest.raises(MaepressError, match="set web of the recipe has 1 images"):
        sort_keys(recipe, ["web/a.jpg", "other/b.jpg", "web/c.txt"])


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_slots_are_assigned_by_share_and_spread_over_ranks(ranks: int) -> None:
    names = assign_slots({"a": 20, "b": 8, "c": 4}, 32)
    assert [names.count(n) for n in "abc"] == [20, 8, 4]
    for rank in range(ranks):
        assert set(names[rank * 32 // ranks : (rank + 1) * 32 // ranks]) == set("abc")


def test_a_batch_too_small_for_all_sets_is_refused() -> None:
    with pytest.raises(MaepressError, match="no crop for rare"):
        assign_slots({"common": 30, "rare": 1}, 8)


def test_every_batch_holds_the_mixture_and_ranks_share_it() -> None:
    images = {f"dark/{i}.png": grey(10) for i in range(4)} | {f"light/{i}.png": grey(240) for i in range(4)}
    recipe = Recipe(sets={"dark": ImageSet(keys=("dark/*",), crops=3), "light": ImageSet(keys=("light/*",), crops=1)})
    keys = {name: [k for k in images if k.startswith(name)] for name in ("dark", "light")}

    def crops(places: range) -> MixedCrops:
        return MixedCrops(recipe, keys, images.__getitem__, batch=8, places=places, crop=64, seed=[1, 0])

    whole, first, second = crops(range(8)), crops(range(4)), crops(range(4, 8))
    for _ in range(3):
        batch = whole.next()
        assert batch.shape == (8, 64, 64, 3)
        assert (batch.mean((1, 2, 3)) > 0.5).sum() == 2
        assert (batch[:4] == first.next()).all() and (batch[4:] == second.next()).all()


def test_drawn_crops_come_at_their_share() -> None:
    images = {f"a/{i}.png": grey(128) for i in range(4)}
    recipe = Recipe(sets={"a": ImageSet(keys=("a/*",), crops=6)}, drawn=2)
    crops = MixedCrops(recipe, {"a": list(images)}, images.__getitem__, batch=8, places=range(8), crop=64, seed=[0, 0])
    flat = sum(int(image.std() == 0) for _ in range(4) for image in crops.next())
    assert 24 <= flat <= 26  # all the grey ones, and perhaps a drawn one without anything on it
