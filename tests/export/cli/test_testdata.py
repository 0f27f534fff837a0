"""deploy-bias testdata; what it writes: tests/export/test_testdata.py."""


def test_testdata(run, small_bundle, tmp_path):
    status, out, _ = run("testdata", small_bundle.folder, "-o", tmp_path / "t")
    assert status == 0
    assert "model.bpte, test_bias/model.onnx" in out.replace("\n", "")
    assert (tmp_path / "t" / "test_decoder" / "test_data_set_0" / "output_3.pb").is_file()
