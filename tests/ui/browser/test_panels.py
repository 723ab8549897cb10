"""The panels of counts, cost, length, time and pasted errors."""

from __future__ import annotations

from playwright.sync_api import Page, Request, Route, expect

from tests.ui.browser.screen import confirmed, opened_view


def test_the_other_counts_are_shown_on_demand_and_never_of_an_older_stem(page: Page) -> None:
    page.get_by_label("encoder behind the stem").check()
    confirmed(page)
    opened_view(page, "Cost").get_by_text("MACs by every other way of counting").click()
    counts = page.locator("[data-slot=witnesses]")
    expect(counts).to_contain_text("torchinfo", timeout=20_000)
    assert counts.locator(".counts").inner_text().count("3,958,940,928") == 3
    expect(counts).to_contain_text("⚠ partial")
    counts.get_by_text("layer by layer").click()
    line = counts.locator(".layers tr", has_text="block1.qkv")
    assert line.inner_text().split() == ["block1.qkv", "87,146,496", "=", "=", "443,520", "="]
    page.get_by_label("conv2 stride").fill("1")
    expect(counts).to_be_empty()


def test_the_cost_is_split_weighed_and_held_against_the_paper(page: Page) -> None:
    panel = opened_view(page, "Cost")
    expect(panel).to_contain_text("The paper's Table 3, C, prints 435 M flops")
    panel.get_by_role("button", name="Put the encoder behind the stem").click()
    expect(panel).to_contain_text("1.36 transformer blocks")
    expect(panel).to_contain_text("378 M MACs more than patchify")
    expect(panel).to_contain_text("Table 1, ViT_C-4GF, prints 4.0 G flops")
    bars = panel.locator(".shares tbody tr")
    assert bars.first.inner_text().split()[:3] == ["conv1", "16.3", "M"]
    assert "attention × 11" in panel.locator(".shares").inner_text()
    panel.get_by_text("the paper's tables beside ours").click()
    expect(panel.locator(".printed")).to_contain_text("17,563,828,224about 17.5 G")
    expect(panel.locator(".printed")).to_contain_text("with 52 it costs the 422 M printed")
    assert "view=cost" in page.url
    page.reload()
    confirmed(page)
    expect(panel).to_contain_text("1.36 transformer blocks")


def test_the_length_panel_follows_the_model(page: Page) -> None:
    panel = opened_view(page, "Length")
    expect(panel).to_contain_text("197 rows; 197 tokens arrived (✓ observed)")
    expect(panel).to_contain_text("It takes images of 209 to 224 px")
    expect(panel).to_contain_text("size of tensor a (226) must match the size of tensor b (197)")
    panel.get_by_role("button", name="Put the encoder behind the stem").click()
    expect(panel.locator("svg.plot")).to_have_count(3)
    expect(panel).to_contain_text("8,448·n² (328 M)")
    page.locator("[data-field=attention]").select_option("linear")
    expect(panel).to_contain_text("Linear attention has no n² term")
    page.locator("[data-slider]").fill("208")
    expect(panel).to_contain_text("170 rows; 170 tokens arrived")
    assert panel.locator("svg.plot").first.get_attribute("aria-label") == (
        "Tokens against image size; 170 at 208 pixels"
    )


def test_every_layer_is_timed_with_progress_and_the_result_stays(page: Page) -> None:
    panel = opened_view(page, "Time")
    panel.get_by_role("button", name="Time every layer").click()
    expect(panel.get_by_role("button", name="Time again")).to_be_visible(timeout=60_000)
    expect(panel).to_contain_text("20 runs")
    assert panel.locator(".times tbody tr").count() == 16 + 1
    expect(panel).to_contain_text("0.75 for MACs and 0.93 for activations")
    assert panel.locator("svg.plot title").all_inner_texts() is not None
    figure = panel.locator(".figures strong").inner_text()
    opened_view(page, "Cost")
    expect(opened_view(page, "Time").locator(".figures strong")).to_have_text(figure)
    page.get_by_label("conv2 stride").fill("1")  # another stem, of which nothing is known
    expect(panel.get_by_role("button", name="Time every layer")).to_be_visible()


def test_a_measurement_can_be_stopped(page: Page) -> None:
    """It is stopped between the first figures and the next, which come and are not shown."""
    page.get_by_label("encoder behind the stem").check()  # 4 G MACs: seconds for all runs
    confirmed(page)
    panel = opened_view(page, "Time")
    asked: list[Route] = []

    def hold(route: Route) -> None:
        asked.append(route)
        if len(asked) == 1:
            route.continue_()

    def of_time(request: Request) -> bool:
        return '"fn_name":"time"' in (request.post_data or "")

    page.route("**/component_server/**", hold)
    panel.get_by_role("button", name="Time every layer").click()
    expect(panel.locator("progress")).to_be_visible(timeout=30_000)
    panel.get_by_role("button", name="Stop").click()
    expect(panel).to_contain_text("Stopped.")
    runs = panel.locator(".figures").inner_text()
    assert len(asked) == 2
    with page.expect_event("requestfinished", of_time):
        asked[1].continue_()
    page.wait_for_timeout(100)
    assert len(asked) == 2
    assert panel.locator(".figures").inner_text() == runs
    assert "of 20 runs" in runs
    expect(panel.get_by_role("button", name="Time again")).to_be_visible()


def test_a_pasted_error_is_explained_for_the_stem_on_the_screen(page: Page) -> None:
    page.get_by_role("button", name="Explain an error").click()
    box = page.locator("[data-error]")
    expect(box).to_be_focused()
    box.fill("The size of tensor a (257) must match the size of tensor b (197)")
    explained = page.locator("[data-slot=explained]")
    expect(explained).to_contain_text("257 = 16×16 + 1")
    expect(explained).to_contain_text("Resize the image")
    # the first reading large, each of the others on one line that opens
    articles = explained.locator("article")
    expect(explained.locator(".likeliest article")).to_be_visible()
    lines, shown = explained.locator(".reading > summary"), 2
    rest = explained.get_by_text("less likely reading")
    assert lines.count() == articles.count() - 1 == shown + int(rest.inner_text().split()[0])
    line = lines.first.bounding_box()
    assert line is not None
    assert line["height"] < 40  # however long its sentence is
    expect(articles.nth(1)).to_be_hidden()
    lines.first.click()
    expect(articles.nth(1)).to_be_visible()
    expect(lines.last).to_be_hidden()
    rest.click()
    expect(lines.last).to_be_visible()
    page.locator("[data-field=preset]").select_option("dinov2_s14")
    expect(explained).to_contain_text("strides multiply to 14")  # of the stem that is now shown
    expect(lines.last).to_be_visible()  # and stays open
    confirmed(page)
    box.fill("<b>no error at all</b>")
    expect(explained).to_have_text("This error is not known here.")
    assert page.locator(".vi").get_attribute("data-state") == "confirmed"  # the stem is as it was
    box.fill("")
    expect(explained).to_be_empty()
