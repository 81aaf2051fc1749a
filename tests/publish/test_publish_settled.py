"""A figure's bytes must not hang on the last digits of the layout's solver."""

from autoprune.publish import plotting as drawing


def test_panels_lie_at_rounded_places_wherever_the_solver_put_them(tmp_path):
    drawing.use_theme()
    figure, axes = drawing.panels(["one", "two", "three"])
    axes[0].set_ylabel("accuracy, which takes some room")
    drawing.save(figure, tmp_path / "a.svg", tmp_path / "a.png")
    places = [number for ax in axes for number in ax.get_position().bounds]
    assert max(abs(number - round(number, 4)) for number in places) < 1e-12
    assert len({ax.get_position().x0 for ax in axes}) == 3  # laid out, not left on one spot
