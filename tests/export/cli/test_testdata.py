"""deploy-bias testdata; what it writes: tests/export/test_testdata.py."""


def test_testdata(run, digits_bundle, tmp_path):
    status, out, _ = run("testdata", digits_bundle.folder, "-o", tmp_path / "t")
    assert status == 0
    assert "model.bpte, test_frontend/model.onnx" in out.replace("\n", "")
    assert (tmp_path / "t" / "test_decoder" / "test_data_set_4" / "output_3.pb").is_file()
