// Runs a bmz-ddpm package in Fiji on its own sample image and compares the outputs with those of
// the training code, which lie in the package.
//
//   fiji --headless --console -macro check_model.ijm "MODEL_FOLDER OUTPUT_FOLDER"
//
// MODEL_FOLDER is the unzipped package (core profile) below Fiji's models folder. No spaces in
// either path. Prints a line per output; the last line is "passed" or "failed".

OUTPUTS = newArray("denoised", "std", "entropy");
// |difference| may be ABSOLUTE + RELATIVE * |reference|, as rdf.yaml says ...
ABSOLUTE = newArray(0.03825, 0.03825, 0.001);
RELATIVE = newArray(0.0001, 0.0001, 0.001);
// ... in all but this many pixels per million
MISMATCHED = newArray(0, 0, 1000);

paths = split(getArgument(), " ");
if (paths.length != 2) exit("error: two arguments are needed: MODEL_FOLDER OUTPUT_FOLDER");
model = paths[0];
output = paths[1];
if (!File.exists(model + "/rdf.yaml")) exit("error: " + model + ": holds no rdf.yaml");
File.makeDirectory(output);

setBatchMode(true);
start = getTime();
run("DeepImageJ Run", "model_path=[" + model + "] input_path=[" + model + "/sample_raw.tif] output_folder=[" + output + "] display_output=null");
print("DeepImageJ Run: " + (getTime() - start) / 1000 + " s");

failed = 0;
for (i = 0; i < OUTPUTS.length; i++) {
    found = outputFile(output, OUTPUTS[i]);
    if (found == "") {
        print(OUTPUTS[i] + ": no file with this name in " + output);
        failed++;
    } else {
        path = output + "/" + found;
        failed = failed + compare(path, model + "/sample_" + OUTPUTS[i] + ".tif", i);
    }
}
if (failed == 0) print("passed"); else print("failed");

// The newest file whose name contains that of the output; "" if there is none.
function outputFile(folder, name) {
    best = "";
    newest = 0;
    files = getFileList(folder);
    for (k = 0; k < files.length; k++) {
        when = File.lastModified(folder + "/" + files[k]);
        if (indexOf(files[k], name) >= 0 && endsWith(files[k], ".tif") && when >= newest) {
            best = files[k];
            newest = when;
        }
    }
    return best;
}

// Prints one line; returns 1 if the images differ by more than allowed, else 0.
function compare(path, reference, i) {
    open(path);
    got = getImageID();
    open(reference);
    want = getImageID();
    width = getWidth();
    height = getHeight();
    largest = 0;
    over = 0;
    row = newArray(width);
    for (y = 0; y < height; y++) {
        selectImage(want);
        for (x = 0; x < width; x++) row[x] = getPixel(x, y);
        selectImage(got); // once a row: changing the image takes long
        for (x = 0; x < width; x++) {
            difference = abs(getPixel(x, y) - row[x]);
            if (difference > largest) largest = difference;
            // written so that NaN counts as a difference
            if (!(difference <= ABSOLUTE[i] + RELATIVE[i] * abs(row[x]))) over++;
        }
    }
    allowed = MISMATCHED[i] * width * height / 1000000;
    print(OUTPUTS[i] + ": largest difference " + d2s(largest, 6) + ", " + over + " of " + width * height + " pixels over the limit, " + allowed + " allowed");
    selectImage(got);
    close();
    selectImage(want);
    close();
    return over > allowed;
}
