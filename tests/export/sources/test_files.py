"""The files of a model are found where people have them."""

import stat
import zipfile

import pytest
import yaml

from deploy_bias.errors import SourceError
from deploy_bias.export.sources import files
from deploy_bias.export.sources.files import Files, open_files

META = {
    "files": {"asr_model_file": "exp/asr/valid.loss.ave_10best.pth"},
    "yaml_files": {"asr_train_config": "exp/asr/config.yaml"},
}


def find(source=None, config=None, checkpoint=None):
    with open_files(source, config, checkpoint) as found:
        return found


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"\x80 weights")


@pytest.fixture
def pack(tmp_path):
    """A pack of the model zoo, unpacked."""
    folder = tmp_path / "pack"
    touch(folder, META["files"]["asr_model_file"], "data/bpe.model")
    (folder / "exp/asr/config.yaml").write_text("decoder: mega\n")
    (folder / "meta.yaml").write_text(yaml.safe_dump(META))
    return folder


def zipped(folder, **extra):
    path = folder.parent / "pack.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
        for name, content in extra.items():
            archive.writestr(name, content)
    return path


class TestExperiment:
    @pytest.mark.parametrize(
        ("names", "taken"),
        [
            (["1epoch.pth"], "1epoch.pth"),
            (["checkpoint.pth"], "checkpoint.pth"),
            (["checkpoint.pth", "1epoch.pth", "valid.loss.ave.pth"], "valid.loss.ave.pth"),
            (["valid.loss.best.pth", "valid.loss.ave_10best.pth"], "valid.loss.ave_10best.pth"),
            (["valid.acc.ave.pth", "valid.loss.best.pth"], "valid.loss.best.pth"),
            (["valid.acc.ave_5best.pth", "train.loss.best.pth"], "valid.acc.ave_5best.pth"),
        ],
    )
    def test_the_usual_checkpoint_is_taken(self, tmp_path, names, taken):
        touch(tmp_path, *names)
        assert find(tmp_path).checkpoint.name == taken

    def test_a_link_and_what_it_leads_to_are_one(self, tmp_path):
        touch(tmp_path, "valid.acc.ave_10best.pth")
        (tmp_path / "valid.acc.ave.pth").symlink_to("valid.acc.ave_10best.pth")
        (tmp_path / "valid.cer.ave.pth").symlink_to("valid.acc.ave_10best.pth")
        assert find(tmp_path).checkpoint.resolve().name == "valid.acc.ave_10best.pth"

    @pytest.mark.parametrize(
        "names", [[], ["1epoch.pth", "2epoch.pth"], ["valid.acc.ave.pth", "valid.cer.ave.pth"]]
    )
    def test_it_does_not_guess(self, tmp_path, names):
        touch(tmp_path, *names)
        found = ", ".join(names) or "none"
        with pytest.raises(SourceError, match=f"found {found}. Choose with --checkpoint"):
            find(tmp_path)

    @pytest.mark.parametrize("link", [True, False], ids=["link", "copied without links"])
    def test_a_link_that_leads_nowhere_is_looked_past_and_named(self, tmp_path, link):
        touch(tmp_path, "valid.loss.ave_10best.pth")
        broken = tmp_path / "valid.loss.ave.pth"
        if link:
            broken.symlink_to("/nonexistent/x.pth")
        else:
            broken.write_text("/nonexistent/x.pth")
        found = find(tmp_path)
        assert found.checkpoint.name == "valid.loss.ave_10best.pth"
        assert found.notes == (
            "look past valid.loss.ave.pth: it is a link to /nonexistent/x.pth, which is not there",
        )
        found.checkpoint.unlink()
        with pytest.raises(SourceError, match=r"found none; look past valid\.loss\.ave\.pth"):
            find(tmp_path)

    def test_the_config_beside_a_checkpoint_is_taken(self, tmp_path):
        touch(tmp_path, "valid.loss.ave.pth", "config.yaml")
        found = find(tmp_path / "valid.loss.ave.pth")
        assert found.config == tmp_path / "config.yaml"
        assert "which lies beside valid.loss.ave.pth" in found.notes[0]

    def test_a_checkpoint_alone_has_none(self, tmp_path):
        touch(tmp_path, "valid.loss.ave.pth")
        assert find(tmp_path / "valid.loss.ave.pth").config is None

    def test_other_files_are_found_from_the_recipe_or_beside_the_config(
        self, tmp_path, monkeypatch
    ):
        touch(tmp_path, "exp/asr/a.pth", "data/en/bpe.model", "exp/asr/tokens.txt")
        for source in (tmp_path / "exp/asr", tmp_path / "exp/asr/a.pth"):
            touch(tmp_path, "exp/asr/config.yaml")
            found = find(source)
            assert found.find("data/en/bpe.model").samefile(tmp_path / "data/en/bpe.model")
            assert found.find("/old/place/tokens.txt") == tmp_path / "exp/asr/tokens.txt"
            assert found.find("nowhere") is None
        monkeypatch.chdir(tmp_path / "exp/asr")
        assert find(tmp_path / "exp/asr").find("data/en/bpe.model") is not None

    def test_what_is_missing(self, tmp_path):
        with pytest.raises(SourceError, match="no checkpoint given"):
            find()
        with pytest.raises(SourceError, match="give one of the two"):
            find(tmp_path / "a.pth", checkpoint=tmp_path / "b.pth")


class TestPack:
    def test_a_folder(self, pack):
        found = find(pack)
        assert found.checkpoint == pack / "exp/asr/valid.loss.ave_10best.pth"
        assert found.config == pack / "exp/asr/config.yaml"
        assert found.find("data/bpe.model") == pack / "data/bpe.model"

    def test_a_zip(self, pack):
        with open_files(zipped(pack), None, None) as found:
            assert found.checkpoint.read_bytes() == b"\x80 weights"
            assert found.config.read_text() == "decoder: mega\n"
            assert found.find("data/bpe.model").is_file()
        assert not found.checkpoint.exists()

    def test_an_old_one_has_meta_one_folder_below(self, pack):
        (pack / "packed").mkdir()
        (pack / "meta.yaml").rename(pack / "packed/meta.yaml")
        with open_files(zipped(pack), None, None) as found:
            assert found.checkpoint.is_file()

    def test_one_that_espnet_unpacked_elsewhere(self, pack):
        assert find(pack).find("/cache/1f3a/data/bpe.model") == pack / "data/bpe.model"

    @pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "data/../../secret"])
    def test_its_config_reaches_nothing_outside(self, pack, name):
        touch(pack.parent, "secret")
        assert find(pack).find(name) is None

    @pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "C:\\evil", "..\\evil"])
    def test_one_that_leaves_its_folder_is_refused(self, pack, name):
        with pytest.raises(SourceError, match="is outside of the pack"):
            find(zipped(pack, **{name: "x"}))
        (pack / "meta.yaml").write_text(yaml.safe_dump({**META, "files": {"asr_model_file": name}}))
        with pytest.raises(SourceError, match="is outside of the pack"):
            find(pack)

    def test_a_link_in_a_zip_is_refused(self, pack):
        path = zipped(pack)
        with zipfile.ZipFile(path, "a") as archive:
            link = zipfile.ZipInfo("exp/link")
            link.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(link, "/etc/passwd")
        with pytest.raises(SourceError, match="exp/link is a link"):
            find(path)

    def test_one_that_unpacks_to_more_than_it_may_is_refused(self, pack, monkeypatch):
        path = zipped(pack, zeros=b"\0" * 200_000)
        assert path.stat().st_size < 5000
        monkeypatch.setattr(files, "PACK_BYTES", 100_000)
        with pytest.raises(SourceError, match="more than the 100,000 that a pack may"):
            find(path)

    def test_a_damaged_zip(self, pack):
        path = zipped(pack)
        content = bytearray(path.read_bytes())
        content[60:70] = b"\xff" * 10
        path.write_bytes(content)
        with pytest.raises(SourceError, match="cannot be unpacked"):
            find(path)

    @pytest.mark.parametrize(
        ("meta", "message"),
        [
            ({}, "names no asr_model_file, only nothing"),
            ({"files": {"tts_model_file": "a.pth"}}, "names no asr_model_file, only tts_model"),
            ({**META, "files": {"asr_model_file": "b.pth"}}, "b.pth is missing, which meta.yaml"),
            ([], "expected a mapping of options"),
        ],
    )
    def test_a_meta_that_names_no_recogniser(self, pack, meta, message):
        (pack / "meta.yaml").write_text(yaml.safe_dump(meta))
        for source in (pack, zipped(pack)):
            with pytest.raises(SourceError, match=message):
                find(source)

    def test_a_zip_of_something_else(self, tmp_path):
        path = tmp_path / "else.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("readme", "x")
        with pytest.raises(SourceError, match=r"holds no meta\.yaml; expected a pack"):
            find(path)


def test_a_file_is_looked_for_in_each_place(tmp_path):
    touch(tmp_path, "b/x")
    assert Files(tmp_path, None, (tmp_path / "a", tmp_path / "b")).find("x") == tmp_path / "b/x"
