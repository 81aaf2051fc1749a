"""Spoken words: from wav files made here, from archives, and the real one where it lies."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

from autoprune.core.errors import InputError
from autoprune.data.prepare import partition
from autoprune.data.prepare.__main__ import main
from autoprune.data.prepare.readers import wav
from autoprune.data.store import ClientStore

DATA = Path(os.environ.get("AUTOPRUNE_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
SPEAKERS, WORDS, TAKES = ("anna-b", "bob", "eve", "zoe"), ("07", "open"), 5


def prepare(output, local, *flags):
    words = ["speech", "--name", "own", "--local", local, "--output", output, *flags]
    main([*map(str, words)])
    store = ClientStore.open(output)
    store.verify()
    return store


def tone(hertz, seconds=1.5, rate=wav.RATE, level=20_000):
    """A tone (sample,) int16 that swells and fades."""
    time = np.arange(round(seconds * rate)) / rate
    return (level * np.sin(2 * np.pi * hertz * time) * np.sin(np.pi * time / seconds)).astype("<i2")


def pitch(speaker, word, take):
    return 300 + 400 * SPEAKERS.index(speaker) + 1900 * WORDS.index(word) + 60 * take


@pytest.fixture
def recordings(tmp_path):
    """SPEAKER/SPEAKER-LABEL-TAKE.wav, each another tone."""
    for speaker in SPEAKERS:
        (tmp_path / "wavs" / speaker).mkdir(parents=True)
        for word in WORDS:
            for take in range(TAKES):
                file = tmp_path / "wavs" / speaker / f"{speaker}-{word}-{take:02d}.wav"
                wavfile.write(file, wav.RATE, tone(pitch(speaker, word, take)))
    return tmp_path / "wavs"


@pytest.fixture
def archive(tmp_path):
    """Write an archive of 4 speakers' clips; ``changes`` are other arrays, None for none."""

    def write(**changes):
        images = np.random.default_rng(0).integers(0, 256, (40, 6, 8), np.uint8)
        arrays = {"x": images, "y": np.arange(40) % 2, "speaker": np.arange(40) // 10} | changes
        file = tmp_path / "archive" / "words.npz"
        file.parent.mkdir(exist_ok=True)
        np.savez(file, **{name: array for name, array in arrays.items() if array is not None})
        return file

    return write


def image_of(tmp_path, samples, rate=wav.RATE):
    wavfile.write(tmp_path / "a.wav", rate, samples)
    return wav.image(tmp_path / "a.wav").astype(int)


def test_each_file_is_a_clip_of_its_speaker_and_word(recordings, tmp_path, capsys):
    (recordings / "bob" / "notes.txt").write_text("quiet room")
    (recordings / "bob" / "._bob-07-00.wav").write_bytes(b"macOS")
    store = prepare(tmp_path / "out", recordings, "--test-speakers", 1)
    assert f"{recordings}: 2 files left out that are no .wav" in capsys.readouterr().err
    assert store.shape == (wav.BANDS, wav.FRAMES, 1) == (40, 64, 1)
    assert (store.kind, store.polarity, store.natural_clients) == ("real", "light-on-dark", True)
    assert store.client_ids == [*SPEAKERS]
    assert store.targets == [{"name": "word", "classes": [*WORDS]}]
    wanted = {
        wav.image(file).tobytes(): (speaker, word)
        for speaker in SPEAKERS
        for word in WORDS
        for file in recordings.glob(f"{speaker}/{speaker}-{word}-*.wav")
    }
    assert len(wanted) == len(store.images) == len(SPEAKERS) * len(WORDS) * TAKES
    for image, client, label in zip(store.images, store.clients, store.labels[:, 0], strict=True):
        assert wanted[image.tobytes()] == (SPEAKERS[client], WORDS[label])


def test_the_store_does_not_depend_on_the_processes(recordings, tmp_path):
    one, two = (
        prepare(tmp_path / str(n), recordings, "--test-speakers", 1, "--workers", n) for n in (1, 2)
    )
    assert one.checksum == two.checksum


def test_speakers_are_held_out_whole_and_never_train(archive, tmp_path):
    held = []
    for seed in range(4):
        store = prepare(tmp_path / f"{seed}", archive(), "--test-speakers", 2, "--seed", seed)
        assert store.samples == {"train": 20, "validation": 10, "test": 10}
        clients = {name: {*store.clients[store.rows(name)].tolist()} for name in store.samples}
        assert clients["train"] == {0, 1, 2, 3} - clients["validation"] - clients["test"]
        assert len(clients["train"]) == 2
        held.append(clients["train"])
        flags = ["--store", tmp_path / f"{seed}", "--target", "word", "--scheme", "natural"]
        partition.main([*map(str, [*flags, "--output", tmp_path / f"p{seed}"])])
    assert len({*map(tuple, held)}) > 1


def test_with_0_each_speakers_clips_are_split(archive, tmp_path):
    flags = ("--test-speakers", 0, "--test-fraction", 0.4)
    store = prepare(tmp_path / "out", archive().parent, *flags)
    assert store.samples == {"train": 24, "validation": 8, "test": 8}
    assert np.bincount(store.clients[store.rows("train")]).tolist() == [6] * 4


def test_an_archives_names_may_be_text_and_a_label_one_speakers(archive, tmp_path):
    speakers = np.repeat(["ann", "bob", "cy", "di"], 10)
    words = np.array(["yes", "no"] * 15 + ["perhaps"] * 10)
    file = archive(y=words, speaker=speakers, take=np.arange(40))
    store = prepare(tmp_path / "out", file, "--test-speakers", 1)
    assert store.client_ids == ["ann", "bob", "cy", "di"]
    assert store.classes("word") == ["no", "perhaps", "yes"]


@pytest.mark.parametrize("hertz", [150, 440, 1000, 3100, 7000])
def test_a_tone_is_loudest_in_its_band(tmp_path, hertz):
    """The band whose centre is the nearest in mel, in the middle of the clip; silence around."""
    image = image_of(tmp_path, tone(hertz, 1.0))

    def mel(frequency):
        return 2595 * np.log10(1 + frequency / 700)

    centres = mel(8000) * np.arange(1, wav.BANDS + 1) / (wav.BANDS + 1)
    place = np.unravel_index(image.argmax(), image.shape)
    assert abs(centres[place[0]] - mel(hertz)) <= mel(8000) / (wav.BANDS + 1)
    assert image.max() == 255
    assert 28 <= place[1] <= 35
    assert not image[:, :14].any()
    assert not image[:, -14:].any()


def test_levels_are_decibels_below_the_loudest(tmp_path):
    """Of two tones far apart, one a tenth in amplitude: 20 dB of 80 are 63.75 levels of 255."""
    whole = np.zeros(2 * wav.RATE)
    for start, level in ((0, 20_000), (wav.RATE, 2_000)):
        whole[start : start + wav.RATE] = tone(1000, 1.0, level=level)
    image = image_of(tmp_path, whole.astype("<i2"))
    assert image.max() - image[:, 34:].max() == pytest.approx(20 * 255 / 80, abs=2)
    louder = image_of(tmp_path, (whole * 1.5).astype("<i2"))
    assert abs(louder - image)[image > 60].max() <= 1


def test_the_middle_of_a_long_clip_is_taken(tmp_path):
    quiet, word = np.zeros(wav.RATE, "<i2"), tone(1000, 1.0)
    long = image_of(tmp_path, np.concatenate([quiet, word, quiet]))
    assert np.array_equal(long, image_of(tmp_path, word))


@pytest.mark.parametrize(
    "form",
    [
        lambda x: np.stack([x, x], 1),
        lambda x: np.stack([2 * x, 0 * x], 1).astype("<i2"),
        lambda x: x.astype("<i4") * 65536,
        lambda x: (x / 32768).astype("<f4"),
    ],
    ids=["stereo", "one side", "32 bit", "float"],
)
def test_other_forms_of_the_same_sound_give_the_same_image(tmp_path, form):
    mono = tone(700, level=10_000)
    assert abs(image_of(tmp_path, form(mono)) - image_of(tmp_path, mono)).max() <= 1


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_other_rates_are_resampled(tmp_path, rate):
    """Alike where there is sound; the filter's own ripples lie far below."""
    same, other = image_of(tmp_path, tone(700)), image_of(tmp_path, tone(700, rate=rate), rate)
    assert abs(same - other)[same > 130].max() <= 4


def test_eight_bits_are_unsigned_and_silence_is_black(tmp_path):
    mono = tone(700)
    coarse = image_of(tmp_path, np.clip(mono // 256 + 128, 0, 255).astype(np.uint8))
    fine = image_of(tmp_path, mono)
    assert np.array_equal(coarse.argmax(0)[20:44], fine.argmax(0)[20:44])
    assert not image_of(tmp_path, np.zeros(8000, "<i2")).any()


def cut(file):
    file.write_bytes(file.read_bytes()[:-4001])


FAULTS = {
    "no wav": (lambda f: f.write_bytes(b"ID3 this is another kind"), "not a whole wav file"),
    "empty": (lambda f: f.write_bytes(b""), "the file is empty; fetch it again or remove it"),
    "cut": (cut, "not a whole wav file"),
    "no samples": (lambda f: wavfile.write(f, 16_000, np.zeros(0, "<i2")), "0 samples at 16000 Hz"),
    "rate": (lambda f: wavfile.write(f, 16, tone(500)), r"24000 samples at 16 Hz, expected some"),
    "not finite": (
        lambda f: wavfile.write(f, 16_000, np.full(99, np.nan, "<f4")),
        "samples that are no finite numbers",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_file_that_is_no_clip_is_named(recordings, tmp_path, fault, refused, stage):
    spoil, words = FAULTS[fault]
    file = recordings / "eve" / "eve-open-03.wav"
    spoil(file)
    flags = ("speech", "--name", "own", "--test-speakers", 1, "--workers", 2)
    done = stage("data.prepare", *flags, "--local", recordings, "--output", tmp_path / "out")
    line = refused(done)
    assert str(file) in line
    assert re.search(words, line), line
    assert not (tmp_path / "out").exists()


def test_what_does_not_fit_together_is_one_line(recordings, archive, tmp_path):
    def refuse(words, local, *flags):
        with pytest.raises(InputError, match=words) as caught:
            prepare(tmp_path / "out", local, *flags)
        assert "\n" not in str(caught.value)

    refuse("test_speakers: found 4, expected fewer than the 4 speakers", archive(),
           "--test-speakers", 4)  # fmt: skip
    refuse("test_fraction splits each speaker's clips", archive(), "--test-fraction", 0.3)
    refuse("no array 'speaker', only x, y", archive(speaker=None))
    refuse("x: found float64 .40, 6, 8., expected uint8", archive(x=np.zeros((40, 6, 8))))
    refuse("y: found int64 .39,., expected whole numbers or text", archive(y=np.zeros(39, int)))
    refuse("'0' is the only speaker", archive(speaker=np.zeros(40, int)))
    refuse("'0' is the only label", archive(y=np.zeros(40, int)), "--test-speakers", 1)
    objects = archive(y=np.array([None] * 40))
    refuse("words.npz: cannot be read as .npz", objects)
    objects.write_bytes(b"PK")
    refuse("words.npz: cannot be read as .npz", objects)
    refuse("no such file or folder", tmp_path / "nowhere")
    refuse("expected a .npz, or a folder", recordings / "bob" / "bob-07-00.wav")
    (tmp_path / "none").mkdir()
    refuse("neither a .npz nor a file SPEAKER-LABEL-TAKE.wav in it", tmp_path / "none")
    clip = (recordings / "bob" / "bob-07-00.wav").rename(recordings / "zoe" / "zoe-07-00.wav")
    clip.rename(recordings / "zoe-07-01.wav")
    refuse("zoe-07-01.wav: this clip is also", recordings)
    (recordings / "zoe-07-01.wav").rename(recordings / "hello.wav")
    refuse("the name 'hello.wav' is not of the form SPEAKER-LABEL-TAKE.wav", recordings)


def test_the_real_archive(tmp_path, capsys):
    """34 speakers, 27 of whom train. One of them has 60 clips, each up to seven times."""
    folder = DATA / "dspspeech20"
    if not list(folder.glob("*.npz")):
        pytest.skip(f"no spoken words at {folder}; set AUTOPRUNE_TEST_DATA")
    store = prepare(tmp_path / "out", folder)
    assert store.shape == (40, 64, 1)
    assert store.samples == {"train": 10_799, "validation": 1_400, "test": 1_400}
    assert [len(store.client_ids), len(store.classes("word"))] == [34, 20]
    assert len({*store.clients[store.rows("train")].tolist()}) == 27
    assert capsys.readouterr().err == ""  # no held-out clip is trained on
    with pytest.raises(InputError, match="client 5: each of its 50 different held-out images is"):
        prepare(tmp_path / "other", folder, "--test-speakers", 0)
