import numpy as np
import pytest
from PIL import Image

from spikebridge.data.catalog import data_folder
from spikebridge.data.recordings.video_clips import find_clips, load_clip
from spikebridge.errors import DataError


def write_clip(folder, boxes, num_frames=3, images="img", truth="groundtruth_rect.txt"):
    (folder / images).mkdir(parents=True)
    for k in range(num_frames):
        Image.fromarray(np.full((20, 30), k, np.uint8)).save(folder / images / f"{k + 1:04d}.png")

    (folder / truth).write_text(boxes)
    return folder


def test_boxes_are_counted_from_one_in_the_file_and_from_zero_here(tmp_path):
    clip = load_clip(write_clip(tmp_path / "a", "1,1,5,6\n2\t3\t5\t6\n3,4,5,6\n"))
    assert clip.boxes.tolist() == [[0, 0, 5, 6], [1, 2, 5, 6], [2, 3, 5, 6]]
    assert clip.name == "a" and len(clip.frames) == 3 and clip.frames[2][0, 0] == 2


def test_a_clip_of_polygons_gets_the_boxes_around_them(tmp_path):
    polygon = "2,1,4,3,2,5,0,3\n"
    clip = load_clip(write_clip(tmp_path / "a", polygon * 3, images="imgs", truth="groundtruth.txt"))
    assert clip.boxes.tolist() == [[0, 1, 4, 4]] * 3


def test_frames_without_a_box_are_kept_only_where_that_is_allowed(tmp_path):
    folder = write_clip(tmp_path / "a", "1,1,5,6\n2,3,5,6\n")
    with pytest.raises(DataError, match=r"got 3 images and 2 boxes\. allow_unlabelled=True keeps"):
        load_clip(folder)

    clip = load_clip(folder, allow_unlabelled=True)
    assert np.isnan(clip.boxes[2]).all() and clip.num_unlabelled == 1


def test_boxes_without_a_frame_are_always_refused(tmp_path):
    folder = write_clip(tmp_path / "a", "1,1,5,6\n" * 4)
    with pytest.raises(DataError, match=r"got 3 images and 4 boxes\. Images are missing"):
        load_clip(folder, allow_unlabelled=True)


def test_an_unusable_box_is_unlabelled_and_as_the_first_refused(tmp_path):
    clip = load_clip(write_clip(tmp_path / "a", "1,1,5,6\n2,3,0,6\nnan,nan,nan,nan\n"))
    assert clip.num_unlabelled == 2
    with pytest.raises(DataError, match="line 1: expected a box inside the image"):
        load_clip(write_clip(tmp_path / "b", "90,1,5,6\n2,3,4,6\n3,3,4,6\n"))


def test_folders_without_boxes_or_images_are_reported(tmp_path):
    with pytest.raises(DataError, match=r"expected groundtruth_rect\.txt or groundtruth\.txt"):
        load_clip(tmp_path)

    (tmp_path / "groundtruth.txt").write_text("1,1,5,6\n")
    with pytest.raises(DataError, match="expected a folder of images"):
        load_clip(tmp_path)


def test_clips_are_found_beside_other_things(tmp_path):
    write_clip(tmp_path / "b", "1,1,5,6\n")
    write_clip(tmp_path / "a", "1,1,5,6\n")
    write_clip(tmp_path / "with_events", "1,1,5,6\n")
    (tmp_path / "with_events" / "events_sparse.npz").touch()
    (tmp_path / "notes").mkdir()

    assert [clip.name for clip in find_clips(tmp_path)] == ["a", "b"]
    with pytest.raises(DataError, match="expected a folder of clips"):
        find_clips(tmp_path / "none")


def test_the_real_clips_are_read(real_set):
    real_set("otb")
    real_set("vot")
    clips = {path.name: path for path in find_clips()}

    assert "FE240hz_star_motion_0" not in clips

    biker = load_clip(clips["OTB_Biker"])
    assert len(biker.frames) == 142 and biker.boxes[0].tolist() == [261, 93, 16, 26]

    couple = load_clip(clips["OTB_Couple"])
    assert couple.boxes[:2].tolist() == [[50, 46, 25, 62], [46, 41, 24, 62]]

    bag = load_clip(clips["VOT15_bag"])
    assert bag.boxes[0] == pytest.approx([291.827, 124.711, 442.173 - 291.827, 264.289 - 124.711])
    assert len(bag.frames) == len(bag.boxes) == 196


def test_the_real_clip_with_too_few_boxes_is_refused(real_set):
    real_set("otb")
    folder = data_folder() / "tracking" / "OTB_Football1"
    with pytest.raises(DataError, match="got 81 images and 74 boxes"):
        load_clip(folder)

    assert load_clip(folder, allow_unlabelled=True).num_unlabelled == 7
