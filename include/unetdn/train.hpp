// SPDX-License-Identifier: Apache-2.0
#pragma once
// Everything that training needs: pictures, schedule, trainer, and runs with validation and checkpoints.
#include <unetdn/train/dataset.hpp>
#include <unetdn/train/log.hpp>
#include <unetdn/train/run.hpp>
#include <unetdn/train/schedule.hpp>
#include <unetdn/train/trainer.hpp>
